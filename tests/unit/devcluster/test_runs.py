from pathlib import Path

import pytest

from devcluster import cleanup, runs
from devcluster.errors import ClusterError
from devcluster.processes import ProcessId
from devcluster.runs import NodeKind, Run, State, judge

GONE = ProcessId(pid=1, started="another-boot/1")
SLEEP = ["sleep", "60"]


def make(name: str, owner: ProcessId | None) -> Run:
    run = runs.create(name, NodeKind.NONE).model_copy(update={"owner": owner})
    run.save()
    return run


@pytest.mark.parametrize(
    ("owner_alive", "processes", "state"),
    [
        (True, [], State.IN_USE),
        (True, [False], State.IN_USE),
        (False, [True, True], State.STALE),
        (None, [True, True], State.RUNNING),
        (None, [True, False], State.BROKEN),
        (None, [False, False], State.STALE),
        (None, [], State.STALE),
    ],
)
def test_the_state_follows_from_owner_and_processes(
    owner_alive: bool | None, processes: list[bool], state: State
) -> None:
    assert judge(owner_alive, processes) is state


def test_a_run_is_read_back_as_it_was_written(cache: Path) -> None:
    run = runs.create("dev", NodeKind.PROCESS)
    assert runs.load("dev") == run
    assert runs.all_runs() == [run]
    assert run.folder == cache / "run" / "dev"
    assert run.images_root == cache / "containerd"
    assert run.state() is State.IN_USE


def test_a_name_in_use_is_refused(cache: Path) -> None:
    runs.create("dev", NodeKind.NONE)
    with pytest.raises(ClusterError, match="exists already"):
        runs.create("dev", NodeKind.NONE)


@pytest.mark.parametrize("name", ["", "Dev", "-a", "a-", "a/b", "..", "a" * 41])
def test_a_malformed_name_is_refused(cache: Path, name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a cluster"):
        runs.create(name, NodeKind.NONE)


def test_a_path_too_long_for_sockets_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_RELAY_CACHE", str(cache / ("x" * 80)))
    with pytest.raises(ClusterError, match="GPU_RELAY_CACHE"):
        runs.create("dev", NodeKind.NONE)


def test_a_run_of_another_version_is_named(cache: Path) -> None:
    run = runs.create("dev", NodeKind.NONE)
    (run.folder / "run.json").write_text("{}")
    with pytest.raises(ClusterError, match="not a run of this version"):
        runs.load("dev")


def test_sweeping_ends_what_a_dead_owner_left_and_nothing_else(cache: Path) -> None:
    stale, used = make("stale", GONE), make("used", ProcessId.own())
    left, kept = stale.processes(), used.processes()
    left.start("etcd", SLEEP)
    left.start("unknown-to-any-list", SLEEP)
    kept.start("etcd", SLEEP)
    try:
        cleanup.sweep()
        assert left.dead() == []  # its records went with its folder …
        assert cleanup.leftovers(stale) == []  # … and so did its processes
        assert not stale.folder.exists()
        assert kept.dead() == []
        assert used.folder.exists()
    finally:
        kept.end_rest()


def test_a_detached_run_lives_on_without_its_owner(cache: Path) -> None:
    run = make("dev", ProcessId.own())
    run.processes().start("etcd", SLEEP)
    detached = run.detached()
    assert runs.load("dev") == detached
    assert detached.state() is State.RUNNING
    cleanup.tear_down(detached)
    assert runs.load("dev") is None


def test_logs_are_kept_where_the_environment_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cleanup.LOGS_VARIABLE, str(cache / "logs"))
    run = make("dev", ProcessId.own())
    (run.folder / "etcd.log").write_text("it was like this")
    cleanup.tear_down(run)
    assert (cache / "logs" / "dev" / "etcd.log").read_text() == "it was like this"


def test_a_new_run_is_not_removed_as_stale(cache: Path) -> None:
    stale = make("dev", GONE)
    stale.model_copy(update={"owner": ProcessId.own()}).save()
    cleanup.tear_down(stale, only_if_stale=True)
    assert stale.folder.exists()
