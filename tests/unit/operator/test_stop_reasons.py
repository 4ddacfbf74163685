"""Why a turn is stopped: the cause is recorded before the pod is deleted."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.api.words import Reason
from gpu_relay.domain.decision import DeletePod, ReturnLease
from gpu_relay.domain.job import stop_reasons
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import Preemptor, TurnView
from tests.support.builders import NOW, ago, job, lease, pod, stopping

POD = pod(ip=None, created=ago(60))


def test_a_stop_of_another_turn_does_not_count() -> None:
    assert stopping(Reason.PREEMPTED).recorded_stop(8) is None


def test_the_cause_is_recorded_before_the_pod_is_deleted() -> None:
    low = job(preemptible=True)
    view = TurnView(NOW, Policy(), lease(low), None, low, pods=(POD,), preemptor=Preemptor("vision/high", 5))
    decision = turn.plan(view)
    assert decision.action == DeletePod(POD)
    assert decision.status is not None
    assert decision.status.turn is not None
    assert decision.status.turn.stopping == Reason.PREEMPTED
    going = replace(low, status=decision.status)
    again = turn.plan(replace(view, job=going, pods=(replace(POD, deleting=True),), preemptor=None))
    assert again.action is None
    assert again.status == decision.status, "nothing new to write while it stops"
    spared = turn.plan(replace(view, job=going, preemptor=None))
    assert spared.status is not None
    assert spared.status.turn is not None
    assert spared.status.turn.stopping is None, "the other job is gone, and the pod was never asked to stop"


@pytest.mark.parametrize(
    ("spec", "priority", "stops_"),
    [({"preemptible": True}, 1, True), ({"preemptible": True}, 0, False), ({"preemptible": False}, 9, False)],
)
def test_only_a_preemptible_job_of_lower_priority_is_preempted(
    spec: dict[str, Any], priority: int, stops_: bool
) -> None:
    owner = job(**spec)
    view = TurnView(NOW, Policy(), lease(owner), None, owner, preemptor=Preemptor("vision/high", priority))
    stopped = stop_reasons.withdrawn(view, owner)
    assert (stopped is not None and stopped.reason == Reason.PREEMPTED) is stops_
    assert isinstance(turn.plan(view).action, ReturnLease) is stops_
