"""Why a pod does not start, and what its message advises."""

from dataclasses import replace

import pytest

from gpu_relay.api.words import Reason
from gpu_relay.domain.job import pod_failures
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.support.builders import NOW, ago, job, lease, pod

POD = pod(ip=None, created=ago(60))


@pytest.mark.parametrize(
    ("word", "reason", "failing"),
    [
        ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED, True),
        ("CreateContainerError", Reason.CONTAINER_NOT_CREATED, True),
        ("Unschedulable", Reason.UNSCHEDULABLE, True),
        ("ContainerCreating", Reason.POD_NOT_STARTED, False),
    ],
)
def test_why_a_pod_does_not_start(word: str, reason: Reason, failing: bool) -> None:
    pod = replace(POD, waiting=f"{word}: words", waiting_reason=word)
    assert (pod_failures.start_reason(pod), pod_failures.is_start_failure(pod)) == (reason, failing)


def test_a_lost_node_and_a_stuck_pod_keep_the_gpu() -> None:
    owner = job()
    gone = replace(POD, deleting=True, delete_by=ago(120))
    for view in (
        TurnView(NOW, Policy(), lease(owner), None, owner, pods=(POD,), node_trouble="node node-1 is not ready"),
        TurnView(NOW, Policy(), lease(owner), None, owner, pods=(gone,)),
    ):
        decision = turn.plan(view)
        assert decision.action is None
        assert decision.events[-1].reason in {Reason.NODE_LOST, Reason.POD_STUCK}


@pytest.mark.parametrize(
    ("said", "remedies", "not_said"),
    [
        ('persistentvolumeclaim "data" not found.', ["data does not exist in namespace vision: create"], "podTemplate"),
        ("pod has unbound immediate PersistentVolumeClaims. not found", ["kubectl describe pvc"], "podTemplate"),
        ("1 Insufficient nvidia.com/gpu.", ["no share of the GPU is free"], "podTemplate"),
        ("1 Insufficient cpu, 1 Insufficient nvidia.com/gpu", ["no share of the GPU", "Template.resources"], "taint"),
        ("1 Insufficient memory, 1 node(s) had untolerated taint(s)", ["podTemplate.resources"], "tolerations"),
        ("2 node(s) had untolerated taint(s)", ["spec.podTemplate.tolerations"], "resources"),
        ("1 node(s) were unschedulable, 1 node(s) didn't match Pod's node affinity/selector", ["uncordon"], "taint"),
        ("1 node(s) didn't match Pod's node affinity/selector", ["spec.podTemplate.nodeSelector"], "resources"),
        ("1 node(s) had volume node affinity conflict", ["use storage that can"], "nodeSelector"),
        ("node(s) had a mood", ["free what the scheduler lacks", "spec.podTemplate"], "PersistentVolumeClaim"),
    ],
)
def test_each_scheduling_failure_has_its_advice(said: str, remedies: list[str], not_said: str) -> None:
    waiting = f"not scheduled: 0/2 nodes are available: {said}"
    message = pod_failures.start_message(replace(POD, waiting=waiting, waiting_reason="Unschedulable"))
    for remedy in remedies:
        assert remedy in message
    assert not_said not in message
