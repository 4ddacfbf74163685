from pathlib import Path

import pytest

from devcluster import host, packages, progress
from devcluster.errors import ClusterError


def test_mounts_below_a_folder_are_listed_innermost_first(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "tmpfs /run/dev tmpfs rw 0 0\n"
        "tmpfs /run/dev/a\\040b/c tmpfs rw 0 0\n"
        "tmpfs /run/dev/a\\040b tmpfs rw 0 0\n"
        "tmpfs /run/device tmpfs rw 0 0\n"
        "overlay /images/x overlay rw 0 0\n"
    )
    found = host.mounts_under(Path("/run/dev"), Path("/images"), table=table)
    assert found[0] == "/run/dev/a b/c"
    assert set(found) == {"/run/dev", "/run/dev/a b", "/run/dev/a b/c", "/images/x"}


def test_only_links_into_this_run_are_removed(tmp_path: Path) -> None:
    links, run = tmp_path / "containers", tmp_path / "run"
    links.mkdir()
    (links / "ours.log").symlink_to(run / "pod-logs" / "0.log")
    (links / "theirs.log").symlink_to(tmp_path / "var" / "0.log")
    host.remove_log_links(run, links)
    assert [link.name for link in links.iterdir()] == ["theirs.log"]


def test_cni_results_of_other_networks_stay(tmp_path: Path) -> None:
    results = tmp_path / "cni" / "results"
    results.mkdir(parents=True)
    for name in ("gpu-relay-abc-eth0", "cni-loopback-abc-lo", "podman-def-eth0", "cni-loopback-def-lo"):
        (results / name).touch()
    host.remove_cni_results(results)
    assert {file.name for file in results.iterdir()} == {"podman-def-eth0", "cni-loopback-def-lo"}
    for file in results.iterdir():
        file.unlink()
    host.remove_cni_results(results)
    assert not results.parent.exists()


@pytest.mark.parametrize("hierarchy", ["", "memory"], ids=["v2", "v1"])
def test_cgroups_of_these_pods_go_and_those_of_others_stay(tmp_path: Path, hierarchy: str) -> None:
    pods = tmp_path / hierarchy / "kubepods" / "burstable"
    (pods / "podours" / "container").mkdir(parents=True)
    host.remove_pod_cgroups(["ours"], tmp_path)
    assert not (tmp_path / hierarchy / "kubepods").exists()
    (pods / "podours").mkdir(parents=True)
    (pods / "podtheirs").mkdir()
    host.remove_pod_cgroups(["ours"], tmp_path)
    assert [pod.name for pod in pods.iterdir()] == ["podtheirs"]


def test_settings_without_a_record_are_left_alone(tmp_path: Path) -> None:
    host.restore_sysctls(tmp_path)


def test_a_failing_command_is_quoted() -> None:
    with pytest.raises(ClusterError, match=r"ls /no/such/folder: .*No such file"):
        host.run("ls", "/no/such/folder")
    assert host.run("ls", "/no/such/folder", check=False) == ""


def test_missing_programs_are_named_by_their_packages_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "_SYSTEM_PATH", "")
    monkeypatch.setattr(packages, "_CNI_FOLDERS", (tmp_path,))
    (tmp_path / "runc").touch(mode=0o755)
    missing = packages.missing_packages({"containerd": "containerd", "ctr": "containerd", "runc": "runc"}, cni=True)
    assert missing == ["containerd", "containernetworking-plugins"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="sudo apt-get install containerd"):
        packages.ensure({"containerd": "containerd"})


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (425, "7 min 5 s")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_long_command_that_fails_shows_the_end_of_its_output(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "build.log"
    with pytest.raises(ClusterError, match=r"building failed with status 2[\s\S]*undefined: x"):
        progress.run_long("building", ["sh", "-c", "echo undefined: x >&2; exit 2"], log)
    progress.run_long("building", ["sh", "-c", "echo fine"], log)
    assert log.read_text() == "fine\n"


def test_a_small_disk_is_reported_beforehand(tmp_path: Path) -> None:
    progress.require_disk(tmp_path / "not" / "yet", -1e9, "nothing")
    with pytest.raises(ClusterError, match=r"the build needs 1000000000\.0 GiB .* GPU_RELAY_CACHE"):
        progress.require_disk(tmp_path / "not" / "yet", 1e9, "the build")
