"""Pods of one set on several nodes, which the real scheduler places: each runs where its GPU was measured."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back

Start = Callable[..., OperatorProcess]
LABEL = "gpurelay.dev/pin"
NODES = ("node-1", "node-2", "without-a-resident")


@pytest.fixture
def nodes(world: World, api: httpx.Client) -> Iterator[None]:
    """Three nodes with one share of a GPU each."""
    world.create_node(NODES[2])
    for name in NODES:
        world.set_room(name, "8")
        world.set_node(name, "True", "kubelet is posting ready status")
        world.set_gpu_shares(name, "1")
    yield
    for name in NODES[:2]:
        world.set_gpu_shares(name, None)
        world.set_room(name, None)
    world.delete_node(NODES[2])


@pytest.fixture
def two(world: World, nodes: None) -> Iterator[list[ScriptedResident]]:
    """Residents on two of the nodes."""
    residents = [ScriptedResident(uuid=f"GPU-00000000-0000-0000-0000-00000000000{number}") for number in range(2)]
    for number, each in enumerate(residents):
        world.add_resident(each, name=f"sam3-{number}", node=NODES[number])
    yield residents
    for each in residents:
        each.close()


def labels(api: httpx.Client) -> dict[str, str]:
    """Return the label of each node that has one."""
    found = api.get("/api/v1/nodes").json()["items"]
    names = {each["metadata"]["name"]: each["metadata"]["labels"].get(LABEL, "") for each in found}
    return {name: label for name, label in names.items() if label}


def placed(jobs: PlainJobs, name: str) -> dict[str, dict[str, Any]]:
    """Return the pods of a Job by their nodes."""
    return {each["spec"].get("nodeName", ""): each for each in jobs.pods(name)}


def test_the_pods_of_a_set_run_on_the_nodes_of_the_turn(
    world: World, api: httpx.Client, two: list[ScriptedResident], jobs: PlainJobs, start_operator: Start
) -> None:
    start_operator()
    jobs.create("spread", pods=2)
    eventually(lambda: set(placed(jobs, "spread")) == {"node-1", "node-2"}, "a pod on each node")
    assert not any(each.loaded for each in two)
    assert set(labels(api)) == {"node-1", "node-2"}
    [label] = set(labels(api).values())
    for pod in placed(jobs, "spread").values():
        assert pod["spec"]["nodeSelector"] == {LABEL: label}
        assert pod["metadata"]["annotations"]["gpurelay.dev/gpu"] == ",".join(each.uuid for each in two)
    first, second = (each["metadata"]["name"] for each in placed(jobs, "spread").values())
    world.set_pod(first, phase="Succeeded")
    assert not any(each.called("load") for each in two), "the other pod runs"
    world.set_pod(second, phase="Succeeded")
    gives_back(world, *two)
    eventually(lambda: not labels(api), "the labels to be removed")


def test_the_next_turn_selects_no_node_of_an_earlier_one(
    world: World, api: httpx.Client, two: list[ScriptedResident], jobs: PlainJobs, start_operator: Start
) -> None:
    """A process that crashes at the end of a turn may leave a label behind."""
    start_operator()
    jobs.create("first", pods=2)
    eventually(lambda: set(placed(jobs, "first")) == {"node-1", "node-2"}, "a pod on each node")
    stale = labels(api)["node-1"]
    jobs.delete("first")
    for pod in placed(jobs, "first").values():
        world.delete_as_kubelet(pod["metadata"]["name"])
    gives_back(world, *two)
    path = f"/api/v1/nodes/{NODES[2]}"
    patch = {"Content-Type": "application/merge-patch+json"}
    api.patch(path, json={"metadata": {"labels": {LABEL: stale}}}, headers=patch).raise_for_status()
    jobs.create("second", pods=2)
    eventually(lambda: set(placed(jobs, "second")) == {"node-1", "node-2"}, "a pod on each node")
    assert labels(api)["node-1"] == labels(api)["node-2"] != stale


@pytest.fixture
def without_the_right(
    jobs: PlainJobs, operator_program: type[OperatorProcess], operator_kubeconfig: Path, tmp_path: Path
) -> Iterator[OperatorProcess]:
    """An operator that is refused a call, which `start_operator` would report."""
    operator = operator_program(operator_kubeconfig, tmp_path / "operator.log", backoff_base="0.5", backoff_cap="0.5")
    operator.start()
    yield operator
    operator.stop()


def test_without_the_right_to_label_nodes_nothing_is_unloaded(
    world: World,
    api: httpx.Client,
    two: list[ScriptedResident],
    jobs: PlainJobs,
    without_the_right: OperatorProcess,
) -> None:
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/gpu-relay-kueue"
    before = api.get(role).json()
    del before["metadata"]["resourceVersion"]
    rules = [each for each in before["rules"] if "nodes" not in each["resources"]]
    api.put(role, json={**before, "rules": rules}).raise_for_status()
    try:
        jobs.create("spread", pods=2)
        jobs.says("spread", "cannot have a label for its pods")
        assert not any(each.called("unload") for each in two)
    finally:
        api.put(role, json=before).raise_for_status()
    eventually(lambda: set(placed(jobs, "spread")) == {"node-1", "node-2"}, "a pod on each node")
