"""How a node is read, and what keeps pods off it."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.domain.objects.node import NodeState, node_state, placement_error

TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "value": "a"}, True),
        ({"key": "team", "operator": "Equal", "value": "a", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "team", "operator": "NewOne", "value": "9"}, True),
        ({"key": "team", "value": "b"}, False),
        ({"key": "team", "value": "a", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({}, False),
    ],
)
def test_taints_are_compared_as_the_scheduler_does(toleration: dict[str, str], tolerated: bool) -> None:
    error = placement_error(NodeState("node-1", taints=(TAINT,)), "gpu-1", [toleration])
    assert (error is None) == tolerated


def test_a_node_is_read() -> None:
    pods = [pod("Running", "2"), pod("Succeeded", "1"), pod("Running", "1", {"gpurelay.dev/gpu": "gpu-1"})]
    raw = {
        "metadata": {"name": "node-1", "labels": {"a": "b"}},
        "spec": {"taints": [TAINT, {"key": "x", "effect": "PreferNoSchedule"}]},
        "status": {"allocatable": {"nvidia.com/gpu": "3"}},
    }
    node = node_state(raw, pods, "nvidia.com/gpu")
    assert (node.labels, node.taints, node.shares, node.shares_taken) == ({"a": "b"}, (TAINT,), 3, 3)
    assert placement_error(replace(node, taints=()), "gpu-1", []) is None, "its own training's share comes free"
    full = placement_error(replace(node, taints=()), "gpu-2", [])
    assert full is not None
    assert "its pods use 3 of 3" in full


def pod(phase: str, shares: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": shares}}}
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": [container]}, "status": {"phase": phase}}


def test_unknown_facts_of_a_node_are_no_obstacle() -> None:
    assert placement_error(node_state({"metadata": {"name": "n"}}, None, "nvidia.com/gpu"), "gpu-1", []) is None
    assert placement_error(NodeState("n", shares=2), "gpu-1", []) is None
