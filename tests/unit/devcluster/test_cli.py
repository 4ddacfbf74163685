from pathlib import Path

import pytest

from devcluster import cleanup, runs
from devcluster.__main__ import main
from devcluster.errors import ClusterError
from devcluster.existing import ExistingCluster
from devcluster.opening import open_cluster
from devcluster.processes import ProcessId
from devcluster.runs import NodeKind

GONE = ProcessId(pid=1, started="another-boot/1")


def test_an_unknown_cluster_is_refused_with_what_to_do(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubeconfig", "--name", "lost"]) == 1
    assert "up --name lost" in capsys.readouterr().err


def test_the_kubeconfig_of_a_cluster_is_printed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.create("dev", NodeKind.NONE)
    assert main(["kubeconfig"]) == 0
    assert capsys.readouterr().out == f"{run.kubeconfig}\n"


def test_status_lists_leftovers_and_down_ends_them(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = runs.create("old", NodeKind.NONE).model_copy(update={"owner": GONE})
    stale.save()
    stale.processes().start("etcd", ["sleep", "60"])
    assert any("etcd" in log.name for log in stale.folder.glob("*.log"))
    assert main(["status"]) == 1
    out = capsys.readouterr().out
    assert "old: stale" in out
    assert "(sleep) still runs" in out
    assert main(["down"]) == 0
    assert cleanup.leftovers(stale) == []
    assert runs.load("old") is None


def test_a_process_of_a_vanished_run_is_left_behind_too(cache: Path) -> None:
    run = runs.create("dev", NodeKind.NONE)
    processes = run.processes()
    processes.start("etcd", ["sleep", "60"])
    try:
        assert cleanup.orphans() == []
        (run.folder / "run.json").unlink()
        assert any(str(run.folder) in sentence for sentence in cleanup.orphans())
    finally:
        processes.end_rest()


def test_an_existing_cluster_is_used_only_when_asked_for(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("NODE", "process")
    assert not isinstance(open_cluster(), ExistingCluster)
    monkeypatch.setenv("NODE", "existing")
    assert open_cluster().kubeconfig == kubeconfig
    kubeconfig.unlink()
    with pytest.raises(ClusterError, match="not a file"):
        open_cluster()
    monkeypatch.delenv("KUBECONFIG")
    with pytest.raises(ClusterError, match="needs KUBECONFIG"):
        open_cluster()
