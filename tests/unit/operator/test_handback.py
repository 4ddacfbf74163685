"""The end of a turn: the job yields to its resident; then the GPU goes to the next job, or the resident is loaded."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import DeletePod, HandOver, Load, ReturnLease
from gpu_relay.domain.objects.pod import Termination
from gpu_relay.domain.objects.resident import GpuReport, Hold
from gpu_relay.domain.objects.usage import Account
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.support.builders import KEY, NOW, ago, job, lease, pod, report, resident

POLICY = Policy(max_outage=600, min_serve=60, idle_after=30)
OUT = report(idle_seconds=5)
AT_REST = lease(None, acquired=None)
POD = pod(fence=8, ip="10.0.0.2", created=ago(500))
OURS = replace(AT_REST, holder=KEY.holder, fence=8, out_since=ago(700), acquired=ago(700))
HELD = replace(OUT, hold=Hold(KEY.holder, 8, 59.0), refused=3)
OWED = replace(AT_REST, acquired=ago(1), reload_pending=KEY.holder, out_since=ago(100))


def after_a_turn(**changes: Any) -> TurnView:
    view = TurnView(NOW, POLICY, OWED, resident(OUT), job(), successor="vision/next")
    return replace(view, **changes)


def test_the_next_job_goes_first_while_the_outage_is_short() -> None:
    decision = turn.plan(after_a_turn())
    assert isinstance(decision.action, HandOver)
    assert decision.status is not None
    reloaded = next(c for c in decision.status.conditions if c.type == "ResidentReloaded")
    assert (reloaded.status, reloaded.reason) == ("False", Reason.GPU_PASSED_ON)
    assert "vision/next" in reloaded.message


def at_the_end(word: str = "Completed", *, out_since: float = 100, free: int = 14910, **changes: Any) -> TurnView:
    """Return the view of a turn whose pod has just ended, while another job waits for the GPU."""
    ended = Termination(0, "", {"reason": word, "message": "30 epochs"}, ago(60), ago(1))
    lease = replace(OURS, out_since=ago(out_since))
    pod = replace(POD, phase="Succeeded", termination=ended, proven_mib=14910)
    report = replace(HELD, free_mib=free)
    view = TurnView(NOW, POLICY, lease, resident(report), job(), pods=(pod,), successor="vision/next")
    return replace(view, **changes)


def test_a_finished_job_hands_over_in_one_status_and_one_event() -> None:
    decision = turn.plan(at_the_end())
    used = Account(trained=59.0, refused=3)
    assert decision.action == ReturnLease(handed_over=True, unused_since="2026-01-01T11:59:59Z", used=used)
    assert decision.status is not None
    assert decision.status.phase == Phase.SUCCEEDED
    assert [attempt.reason for attempt in decision.status.attempts] == [Reason.COMPLETED]
    assert decision.status.gpu is not None
    assert decision.status.gpu.free_after == 14910, "a training too short for a status of its own"
    said = {condition.type: (condition.status, condition.reason) for condition in decision.status.conditions}
    assert said["ResidentReloaded"] == ("False", Reason.GPU_PASSED_ON)
    assert said["Complete"] == ("True", Reason.COMPLETED)
    created, verdict = decision.events
    assert (created.reason, verdict.reason) == (Reason.POD_CREATED, Reason.COMPLETED)
    assert verdict.message == "30 epochs; vision/next has the GPU next; the resident is loaded after it"


def test_handover_is_repeated_after_a_crash() -> None:
    view = at_the_end()
    decision = turn.plan(view)
    assert view.job is not None
    assert decision.status is not None
    done = replace(view.job, status=decision.status)
    again = turn.plan(replace(view, job=done))
    assert isinstance(again.action, ReturnLease)
    assert again.events == ()
    returned = turn.plan(after_a_turn(job=done, lease=replace(OWED, fence=8)))
    assert isinstance(returned.action, HandOver)
    assert returned.status is None
    assert returned.events == decision.events[1:], "by name, it is the same Event"


def test_another_next_job_is_not_reported_again() -> None:
    first = turn.plan(after_a_turn(job=replace(job(), status=YoloTrainingJobStatus(phase=Phase.RELEASING))))
    assert first.status is not None
    assert first.status.phase == Phase.QUEUED
    waiting = replace(job(), status=first.status)
    other = turn.plan(after_a_turn(job=waiting, successor="vision/other"))
    assert isinstance(other.action, HandOver)
    assert other.requeue_after == 9, "until it is loaded after all, nothing is to be looked at"
    assert turn.plan(after_a_turn(job=waiting, lease=replace(OWED, out_since=ago(596)))).requeue_after == 4
    assert (other.status, other.events) == (None, ())


@pytest.mark.parametrize(
    ("view", "phase"),
    [
        (at_the_end(successor=""), Phase.RELEASING),
        (at_the_end(out_since=601), Phase.RELEASING),
        (at_the_end(load_failed=True), Phase.RELEASING),
        (at_the_end("OutOfMemory"), Phase.RELEASING),
        (at_the_end(free=4670), Phase.RELEASING),
        (at_the_end("DatasetInvalid"), Phase.FAILED),
    ],
)
def test_a_turn_ends_in_a_status_of_its_own_unless_it_hands_over(view: TurnView, phase: Phase) -> None:
    decision = turn.plan(view)
    assert decision.status is not None
    assert decision.status.phase == phase
    passes = isinstance(decision.action, ReturnLease) and decision.action.handed_over
    assert passes is (phase == Phase.FAILED)
    assert (decision.events[-1].reason == Reason.TRAINING_ENDED) is not passes


@pytest.mark.parametrize(
    "changes",
    [
        {"successor": ""},
        {"load_failed": True},
        {"lease": replace(OWED, out_since=ago(601))},
        {"lease": replace(OWED, acquired=ago(11))},
    ],
)
def test_the_resident_is_loaded_unless_a_next_job_is_in_time(changes: dict[str, Any]) -> None:
    assert isinstance(turn.plan(after_a_turn(**changes)).action, Load)


@pytest.mark.parametrize(
    ("yields", "report", "out", "stops"),
    [
        (True, HELD, 700, True),
        (False, HELD, 700, False),
        (True, HELD, 500, False),
        (True, replace(HELD, refused=0), 700, False),
    ],
)
def test_a_job_yields_when_the_resident_is_requested_and_due(
    yields: bool, report: GpuReport, out: float, stops: bool
) -> None:
    lease = replace(OURS, out_since=ago(out))
    view = TurnView(
        NOW, POLICY, lease, resident(report), job(gpu={"memory": "10Gi", "yieldToResident": yields}), pods=(POD,)
    )
    decision = turn.plan(view)
    assert isinstance(decision.action, DeletePod) is stops
    assert (Reason.YIELDING_TO_RESIDENT in [notice.reason for notice in decision.events]) is stops
