"""Nodes that take no pods: cordons, taints and missing shares keep jobs off a GPU without an outage."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

NEW = "GPU-00000000-0000-0000-0000-000000000009"


@pytest.fixture
def node_1(world: World) -> Iterator[None]:
    """Undo what a test does to node-1."""
    yield
    world.set_node_spec("node-1", unschedulable=None, taints=None)
    world.set_gpu_shares("node-1", None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"unschedulable": True}, "node node-1 is cordoned"),
        (
            {"taints": [{"key": "team", "value": "other", "effect": "NoSchedule"}]},
            "node node-1 has the taint team=other:NoSchedule",
        ),
    ],
    ids=["cordon", "taint"],
)
def test_a_node_that_takes_no_pods_keeps_its_resident_loaded(
    world: World,
    resident: ScriptedResident,
    other: ScriptedResident,
    operator: OperatorProcess,
    node_1: None,
    spec: dict[str, Any],
    message: str,
) -> None:
    world.set_node_spec("node-1", **spec)
    world.apply_job("digits")
    condition = eventually(lambda: world.waits_for("digits", "NodeUnavailable"), "the condition NodeUnavailable")
    assert message in condition["message"]
    assert resident.loaded
    assert not resident.called("unload")
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-1")
    assert world.gpu_of("digits-1") == NEW.lower()
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "NodeUnavailable"), "the condition NodeUnavailable")
    world.set_node_spec("node-1", unschedulable=None, taints=None)
    world.shows_pod("second-1")


def test_a_cordon_after_a_placement_is_seen_before_the_next(
    world: World, resident: ScriptedResident, operator: OperatorProcess, node_1: None
) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    world.end_pod("first-1")
    world.reaches("first", "Succeeded")
    eventually(world.no_reload_pending, "the resident to be back")
    unloads = len(resident.called("unload"))
    world.set_node_spec("node-1", unschedulable=True)
    time.sleep(1.5)  # the documented age of a node's state, and a margin
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "NodeUnavailable"), "the condition NodeUnavailable")
    assert len(resident.called("unload")) == unloads


def test_a_toleration_of_the_job_opens_a_tainted_node(
    world: World, resident: ScriptedResident, operator: OperatorProcess, node_1: None
) -> None:
    world.set_node_spec("node-1", taints=[{"key": "team", "value": "vision", "effect": "NoSchedule"}])
    world.apply_job("digits", podTemplate={"tolerations": [{"key": "team", "operator": "Exists"}]})
    world.shows_pod("digits-1")


def test_a_gpu_without_a_free_share_is_not_taken(
    world: World,
    resident: ScriptedResident,
    other: ScriptedResident,
    operator: OperatorProcess,
    api: httpx.Client,
    node_1: None,
) -> None:
    world.set_gpu_shares("node-1", "1")
    notebook = restricted_pod("notebook", "x")
    notebook["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    api.post(pods, json={"metadata": {"name": "notebook"}, "spec": {"nodeName": "node-1", **notebook}})
    world.apply_job("digits")
    condition = eventually(lambda: world.waits_for("digits", "NodeUnavailable"), "the condition NodeUnavailable")
    assert "its pods use 1 of 1" in condition["message"]
    world.add_resident(other, name="sam3-new", node="node-2")
    world.shows_pod("digits-1")
    assert world.gpu_of("digits-1") == NEW.lower()
    assert not resident.called("unload")
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "NodeUnavailable"), "the condition NodeUnavailable")
    world.delete_pod("notebook")
    world.shows_pod("second-1")


def test_a_gpu_that_is_out_of_use_keeps_no_job_from_preempting(
    world: World,
    resident: ScriptedResident,
    other: ScriptedResident,
    start_operator: Callable[..., OperatorProcess],
    node_1: None,
) -> None:
    """Law 8: a cordoned node concerns its own GPU alone."""
    start_operator(resident_grace="1")
    world.set_node_spec("node-1", unschedulable=True)
    world.add_resident(other, name="sam3-new", node="node-2")
    world.apply_job("low", preemptible=True)
    world.shows_pod("low-1")
    world.bind_pod("low-1", "node-2")
    world.run_pod("low-1")
    world.apply_job("high", priority=10)
    eventually(lambda: world.waits_for("low", "Preempted"), "the condition Preempted")
    world.end_pod("low-1", "Interrupted", 143, epoch=4)
    world.shows_pod("high-1")
    assert world.gpu_of("high-1") == NEW.lower()
