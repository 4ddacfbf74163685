import json
from pathlib import Path

import pytest

from devcluster import node_lock, runs
from devcluster.errors import ClusterError
from devcluster.processes import ProcessId
from devcluster.runs import NodeKind, Run

GONE = ProcessId(pid=1, started="another-boot/1")


@pytest.fixture(autouse=True)
def own_lock(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_lock, "HOLDER", cache / "node.json")
    monkeypatch.setattr(node_lock, "_LOCK", cache / "node.lock")
    monkeypatch.setattr(node_lock, "_POLL_SECONDS", 0.01)


def never(run: Run) -> None:
    raise AssertionError(f"{run.name} is not stale")


def test_the_node_is_one_runs_until_it_gives_it_back(cache: Path) -> None:
    one, two = runs.create("one", NodeKind.KUBELET), runs.create("two", NodeKind.KUBELET)
    node_lock.acquire(one, 0.0, never)
    assert node_lock.holds(one)
    with pytest.raises(ClusterError, match=r"belongs to cluster one .*in use, process \d+.*--name one"):
        node_lock.acquire(two, 0.05, never)
    node_lock.release(two)  # not its own: nothing happens
    assert node_lock.holds(one)
    node_lock.release(one)
    node_lock.acquire(two, 0.0, never)
    assert node_lock.holds(two)


def test_a_holder_without_an_owner_is_not_waited_for(cache: Path) -> None:
    holder = runs.create("dev", NodeKind.KUBELET)
    holder.processes().start("etcd", ["sleep", "60"])
    try:
        node_lock.acquire(holder.detached(), 0.0, never)
        with pytest.raises(ClusterError, match="running"):
            node_lock.acquire(runs.create("two", NodeKind.KUBELET), 3600.0, never)
    finally:
        holder.processes().end_rest()


def test_a_stale_holder_is_taken_down_first(cache: Path) -> None:
    stale = runs.create("one", NodeKind.KUBELET)
    node_lock.acquire(stale, 0.0, never)
    stale.model_copy(update={"owner": GONE}).save()
    cleaned = []

    def clean(run: Run) -> None:
        assert node_lock.holds(run)  # it is still the holder's to clean
        cleaned.append(run.name)
        node_lock.release(run)

    two = runs.create("two", NodeKind.KUBELET)
    node_lock.acquire(two, 0.0, clean)
    assert cleaned == ["one"]
    assert node_lock.holds(two)


def test_a_holder_whose_folder_is_gone_counts_for_nothing(cache: Path) -> None:
    node_lock.HOLDER.write_text(json.dumps({"folder": str(cache / "run" / "lost")}))
    assert node_lock.holder() is None
