"""Single rules of the plan, which the model of the turn reaches too rarely."""

from dataclasses import replace
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import CreatePod, DeletePod, Load, ReturnLease, Unload
from gpu_relay.domain.objects.pod import Termination
from gpu_relay.domain.objects.resident import Hold, Resident
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.support.builders import FREE_MIB, HOLD, KEY, attempt, job, lease, pod, report, resident, view

OURS = lease()
THEIRS = lease(None, reload_pending=KEY.holder)


def held(*, free: int = FREE_MIB, hold: Hold | None = HOLD) -> Resident:
    return resident(report(used=FREE_MIB - free, hold=hold))


def measured(**fields: Any) -> TurnView:
    """Return the view of a turn with enough samples of free memory."""
    return view(**{"samples": (FREE_MIB,) * 3, **fields})


def test_a_pod_is_created_only_with_all_samples_enough() -> None:
    assert isinstance(turn.plan(measured()).action, CreatePod)
    assert turn.plan(measured(samples=(14_910, 14_910))).action is None
    assert turn.plan(measured(samples=(14_910, 9_000, 14_910))).action is None
    assert turn.plan(measured(samples=(10_240,) * 3)).action is None, "the margin counts"


def test_no_unload_for_memory_that_others_hold() -> None:
    loaded = report(loaded=True, used=10_000, worker_allocated_mib=4_000)
    futile = turn.plan(view(resident=resident(loaded)))
    assert (futile.action, futile.events[-1].reason) == (None, Reason.WAITING_FOR_MEMORY)
    assert futile.status is not None
    assert futile.status.phase == Phase.RELEASING
    assert "Other processes hold about 6,000 MiB" in futile.events[-1].message
    enough = report(loaded=True, used=4_000, worker_allocated_mib=4_000)
    assert isinstance(turn.plan(view(resident=resident(enough))).action, Unload)
    unknown = replace(loaded, worker_allocated_mib=0)
    assert isinstance(turn.plan(view(resident=resident(unknown))).action, Unload), "what it holds is not reported"
    several = view(resident=resident(loaded), others=(resident(loaded, uid="other"),))
    assert isinstance(turn.plan(several).action, Unload), "the other one's memory comes back, too"


def test_the_hold_must_be_this_turns() -> None:
    for hold in (None, replace(HOLD, fence=6), replace(HOLD, holder="yolotrainingjob/vision/other/uid-2")):
        assert isinstance(turn.plan(measured(resident=held(hold=hold))).action, Unload)


def test_the_hold_is_renewed_after_a_third_of_its_ttl() -> None:
    fresh, due = replace(HOLD, expires_in_seconds=50), replace(HOLD, expires_in_seconds=39)
    assert turn.plan(measured(pods=(pod(),), resident=held(hold=fresh))).action is None
    assert isinstance(turn.plan(measured(pods=(pod(),), resident=held(hold=due))).action, Unload)


def test_a_silent_resident_counts_as_not_free() -> None:
    mute = replace(held(), report=None, error="no answer within 5 s")
    decision = turn.plan(measured(resident=mute))
    assert decision.action is None
    assert decision.events[-1].reason == Reason.RESIDENT_UNREACHABLE


def test_a_stray_pod_is_stopped_before_anything_starts_or_loads() -> None:
    stray = pod(name="stray-1", job_uid="uid-0", fence=3)
    assert turn.plan(measured(pods=(stray,))).action == DeletePod(stray)
    assert turn.plan(measured(lease=THEIRS, pods=(stray,))).action == DeletePod(stray)
    assert turn.plan(measured(lease=THEIRS, pods=(replace(stray, deleting=True),))).action is None


def test_the_load_starts_when_nothing_runs() -> None:
    assert isinstance(turn.plan(measured(lease=THEIRS, job=job(status={"phase": Phase.RELEASING}))).action, Load)


def test_a_refused_pod_is_retried_until_the_timeout() -> None:
    refused = measured(refusal=Reason.POD_REFUSED, failure="the API server refuses the training pod: exceeded quota")
    decision = turn.plan(refused)
    assert isinstance(decision.action, CreatePod)
    assert decision.events[-1].reason == Reason.POD_REFUSED
    given_up = turn.plan(replace(refused, refused_for=61))
    assert given_up.action is None
    assert given_up.status is not None
    assert given_up.status.attempts[-1].reason == Reason.POD_REFUSED
    assert "exceeded quota" in given_up.status.attempts[-1].message


def test_the_lease_is_returned_after_the_memory_is_free() -> None:
    ended = Attempt(number=1, pod="digits-1", fence=7, reason=Reason.COMPLETED, completion_time="2026-01-01T11:59:58Z")
    turn_ = {"fence": 7, "since": "2026-01-01T11:59:00Z"}
    done = job(status={"phase": Phase.RELEASING, "attempts": [ended], "turn": turn_, "gpu": {"freeAfter": 14_910}})
    late = turn.plan(measured(job=done, resident=held(free=4_670)))
    assert (late.action, late.requeue_after) == (None, 0.5), "not a complete reconcile for each sample"
    assert isinstance(turn.plan(measured(job=done)).action, ReturnLease)


def test_the_pod_records_the_free_memory_before_it() -> None:
    ended = pod(phase="Succeeded", termination=Termination(0, "", {"reason": "Completed"}), proven_mib=14_910)
    assert turn.plan(measured(pods=(ended,), resident=held(free=4_670))).action is None
    assert isinstance(turn.plan(measured(pods=(ended,))).action, ReturnLease)


def test_a_pod_that_never_starts_releases_the_gpu() -> None:
    stuck = pod(
        phase="Pending",
        waiting="ErrImagePull: no such image",
        waiting_reason="ErrImagePull",
        created="2026-01-01T11:40:00Z",
    )
    decision = turn.plan(measured(pods=(stuck,)))
    assert decision.action == DeletePod(stuck)
    assert decision.status is not None
    lost = turn.plan(measured(job=replace(job(), status=decision.status)))
    assert lost.status is not None
    assert lost.status.attempts[-1].reason == Reason.IMAGE_PULL_FAILED
    assert "ErrImagePull" in lost.status.attempts[-1].message


def test_a_turn_does_not_end_while_its_pod_may_still_appear() -> None:
    gone = measured(job=None)
    assert isinstance(turn.plan(gone).action, ReturnLease)
    waiting = turn.plan(replace(gone, pod_may_appear=True))
    assert waiting.action is None
    assert waiting.requeue_after
    for reason, ends in ((Reason.COMPLETED, True), (Reason.POD_REFUSED, False)):
        recorded = job(status={"phase": Phase.RELEASING, "attempts": [attempt(reason=reason, fence=gone.lease.fence)]})
        decision = turn.plan(replace(gone, job=recorded, pod_may_appear=True))
        assert isinstance(decision.action, ReturnLease) == ends, "a pod that has run does not appear again"
