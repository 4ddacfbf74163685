"""Training beside the loaded resident."""

from dataclasses import replace
from typing import Any

from gpu_relay.api.v1alpha1 import Turn
from gpu_relay.domain.decision import CreatePod, DeletePod, ReturnLease, Unload
from gpu_relay.domain.objects.resident import GpuReport
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn.acquisition import TRAINING_CONTEXT_MIB
from gpu_relay.domain.turn_view import TurnView
from tests.support.builders import ago, job, lease, pod, report, resident, view

POLICY = Policy(max_outage=600, min_serve=60)
POD = pod(fence=8, created=ago(500))
OURS = lease(fence=8, acquired=ago(700), out_since=ago(700), unused_since=ago(0))
ROOMY = report(loaded=True, used=4000, worker_allocated_mib=3000, worker_cap_mib=6000)


def acquiring(reported: GpuReport, room: tuple[int, ...], **gpu: Any) -> TurnView:
    shared = job(gpu={"sharing": "Coresident", "memory": "6Gi", **gpu})
    return view(policy=POLICY, lease=OURS, resident=resident(reported), job=shared, room=room)


def test_a_job_that_fits_beside_the_resident_needs_no_unload() -> None:
    assert ROOMY.room_mib == 7910
    proven = turn.plan(acquiring(ROOMY, (7910,) * 3))
    assert proven.action == CreatePod(1, 16, coresident=True, proven_mib=10910)
    assert turn.plan(acquiring(ROOMY, (7910,) * 2)).action is None
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, 6143))).action, Unload)
    context = 6144 + TRAINING_CONTEXT_MIB
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, context - 1))).action, Unload), "beside it is its context"
    assert isinstance(turn.plan(acquiring(ROOMY, (7910, 7910, context))).action, CreatePod)
    assert isinstance(turn.plan(acquiring(ROOMY, (7910,) * 3, sharing="Exclusive")).action, Unload)
    assert isinstance(turn.plan(acquiring(ROOMY, ())).action, Unload)


def test_law_2_holds_beside_the_resident() -> None:
    stray = replace(POD, name="stray", job_uid="other", fence=3)
    assert turn.plan(replace(acquiring(ROOMY, (7910,) * 3), pods=(stray,))).action == DeletePod(stray)


def test_a_pod_beside_the_resident_needs_no_hold() -> None:
    beside = replace(acquiring(ROOMY, ()), pods=(POD,))
    assert beside.job is not None
    recorded = Turn(fence=8, since=ago(500), sharing="Coresident")
    for turns_status, held in ((recorded, False), (recorded.model_copy(update={"fence": 7}), True), (None, True)):
        status = beside.job.status.model_copy(update={"turn": turns_status})
        decision = turn.plan(replace(beside, job=replace(beside.job, status=status)))
        assert isinstance(decision.action, Unload) == held
        assert decision.status is not None and decision.status.turn is not None
        assert (decision.status.turn.sharing is None) == held, "the record lasts as long as the turn"
    gone = turn.plan(replace(acquiring(ROOMY, ()), job=None))
    assert gone.action == ReturnLease(reload_pending=True, resident_unloaded=False)
