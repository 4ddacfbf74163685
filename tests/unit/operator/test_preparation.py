"""When a job is prepared, and what the end of a preparing pod means."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Attempt, Preparation, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import Action, DeletePod, Prepare
from gpu_relay.domain.job.preparation import PreparationView, is_due, plan
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.policy import Policy
from tests.support.builders import NOW, ago, job, pod

POLICY = Policy(preparations=2, backoff_base=10)
POD = pod(name="digits-1-prepare", gpu="", fence=0, ip=None, created=ago(0))
UNDER_WAY = Preparation(number=1, pod="digits-1-prepare", start_time=ago(0))


def ended(**word: Any) -> TrainingPod:
    return replace(POD, termination=Termination(0, "Completed", {"reason": "Completed", **word}))


ATTEMPT = Attempt(number=1, pod="p", fence=1, reason="Error", completion_time=ago(0))
DONE = UNDER_WAY.model_copy(update={"reason": "Completed"})


@pytest.mark.parametrize(
    ("subject", "due"),
    [
        (job(), True),
        (job(status={"phase": Phase.QUEUED}), True),
        (job(status={"phase": Phase.SUSPENDED, "preparation": UNDER_WAY}), True),
        (job(status={"phase": Phase.QUEUED, "preparation": DONE}), False),
        (job(status={"phase": Phase.QUEUED, "attempts": [ATTEMPT]}), False),
        (job(status={"phase": Phase.ACQUIRING}), False),
        (job(status={"phase": Phase.FAILED}), False),
        (job(output={"uri": "s3://models/x"}), False),
        (job(training={"args": {"epochs": 3}}), False),
    ],
)
def test_which_jobs_are_prepared(subject: Job, due: bool) -> None:
    assert is_due(subject, POLICY) is due


def test_without_preparations_only_running_ones_finish() -> None:
    off = Policy(preparations=0)
    assert not is_due(job(), off)
    assert is_due(job(status={"preparation": UNDER_WAY}), off)


def test_a_preparation_is_recorded_before_the_pod_is_created() -> None:
    decision = plan(PreparationView(NOW, POLICY, job(), may_begin=True))
    assert decision.action == Prepare(1)
    assert decision.status is not None
    again = plan(PreparationView(NOW, POLICY, replace(job(), status=decision.status)))
    assert again.action == Prepare(1), "the operator may have died in between"
    assert again.status is None


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "prepared",
        {"seconds": "long", "bytes": -1, "images": {"train": 1.5}},
        {"seconds": float("nan"), "bytes": 2**80, "images": 7},
        {"seconds": True, "bytes": True, "images": {"train": True}},
    ],
)
def test_an_invalid_termination_message_still_counts_as_prepared(said: Any) -> None:
    decision = plan(PreparationView(NOW, POLICY, job(status={"preparation": UNDER_WAY}), ended(prepared=said)))
    assert decision.status is not None
    record = decision.status.preparation
    assert record is not None
    assert (decision.status.phase, record.reason) == (Phase.QUEUED, "Completed")
    assert (record.seconds, record.bytes, record.images) == (None, None, {})


def pauses_after(end: TrainingPod, count: int) -> tuple[list[float], YoloTrainingJobStatus]:
    """Return the pauses after so many preparations that all end like this, and the status after the last one."""
    status = YoloTrainingJobStatus(preparation=UNDER_WAY)
    pauses: list[float] = []
    for _ in range(count):
        now = NOW + timedelta(seconds=sum(pauses))
        decision = plan(PreparationView(now, POLICY, replace(job(), status=status), end))
        assert decision.status is not None
        waiting = plan(PreparationView(now, POLICY, replace(job(), status=decision.status), may_begin=True))
        assert waiting.requeue_after is not None
        pauses.append(waiting.requeue_after)
        ready = now + timedelta(seconds=waiting.requeue_after)
        begun = plan(PreparationView(ready, POLICY, replace(job(), status=decision.status), may_begin=True))
        assert begun.status is not None
        status = begun.status
    return pauses, status


def test_failures_back_off_and_end_at_the_limit() -> None:
    failed = replace(POD, termination=Termination(1, "Error", {"reason": "Error", "message": "no route"}))
    pauses, status = pauses_after(failed, 3)
    assert pauses == [10, 20, 40]
    last = plan(PreparationView(NOW, POLICY, replace(job(), status=status), failed))
    assert last.status is not None
    assert (last.status.phase, last.action) == (Phase.FAILED, None)


def test_ends_that_cost_no_attempt_back_off() -> None:
    drained = replace(POD, termination=Termination(143, "Error", {}), disruption="EvictionByEvictionAPI")
    pauses, status = pauses_after(drained, 8)
    assert pauses == [10, 20, 40, 80, 160, 320, 360, 360]
    assert status.preparation is not None
    assert (status.preparation.number, status.preparation.failures) == (9, 0)


def test_the_pod_of_a_suspended_job_is_deleted_once() -> None:
    suspended = job(status={"preparation": UNDER_WAY}, suspend=True)
    assert plan(PreparationView(NOW, POLICY, suspended, POD)).action == DeletePod(POD)
    assert plan(PreparationView(NOW, POLICY, suspended, replace(POD, deleting=True))).action is None
    assert plan(PreparationView(NOW, POLICY, suspended)).action is None


def test_an_invalid_pod_is_final() -> None:
    subject = job(status={"preparation": UNDER_WAY}, backoffLimit=3)
    decision = plan(PreparationView(NOW, POLICY, subject, refusal=(Reason.POD_REFUSED, "requests above limits")))
    assert decision.status is not None
    assert decision.status.phase == Phase.FAILED
    assert "requests above limits" in decision.events[0].message


def test_a_start_failure_ends_the_pod_after_the_timeout() -> None:
    failing = replace(POD, phase="Pending", waiting="ErrImagePull: no such host", waiting_reason="ErrImagePull")
    first = plan(PreparationView(NOW, POLICY, job(status={"preparation": UNDER_WAY}), failing))
    assert first.status is not None
    assert first.status.preparation is not None
    assert first.status.preparation.failing_since == ago(0)
    later = NOW + timedelta(seconds=POLICY.start_failure_timeout + 1)
    given_up = plan(PreparationView(later, POLICY, replace(job(), status=first.status), failing))
    assert given_up.action == DeletePod(failing)
    assert given_up.status is not None
    assert given_up.status.preparation is not None
    assert (given_up.status.preparation.failures, given_up.status.preparation.failing_since) == (1, None)
    again = plan(PreparationView(later, POLICY, replace(job(), status=first.status), replace(POD, phase="Running")))
    assert again.status is not None
    assert again.status.preparation == UNDER_WAY, "it runs after all"


def test_a_failure_of_the_api_server_is_reported_and_retried() -> None:
    subject = job(status={"preparation": UNDER_WAY}, backoffLimit=0)
    waits = plan(PreparationView(NOW, POLICY, subject, failure="webhook is down", retry_in=4))
    assert (waits.action, waits.requeue_after) == (None, 4)
    assert waits.status is not None
    assert waits.status.phase == Phase.PREPARING
    again = plan(PreparationView(NOW, POLICY, replace(subject, status=waits.status), failure="webhook is down"))
    assert again.action == Prepare(1)
    assert again.status == waits.status, "nothing new is written"


def name_taken_by(other: TrainingPod) -> tuple[Action | None, str]:
    subject = job(status={"preparation": UNDER_WAY}, backoffLimit=0)
    decision = plan(PreparationView(NOW, POLICY, subject, taken_by=other))
    assert decision.status is not None
    condition = decision.status.conditions[0]
    assert condition.reason == Reason.POD_NAME_TAKEN
    return decision.action, condition.message


@pytest.mark.parametrize("deleting", [True, False])
def test_a_foreign_pod_of_that_name_is_waited_for(deleting: bool) -> None:
    action, message = name_taken_by(replace(POD, job_uid="", deleting=deleting))
    assert action is None
    assert ("delete it" in message) is not deleting


@pytest.mark.parametrize("deleting", [True, False])
def test_the_pod_of_an_earlier_job_of_that_name_is_stopped(deleting: bool) -> None:
    other = replace(POD, job_uid="another", deleting=deleting)
    action, message = name_taken_by(other)
    assert action == (None if deleting else DeletePod(other))
    assert "earlier job" in message


def test_a_preparing_pod_that_does_not_end_blocks_no_gpu() -> None:
    overdue = ago(3600)
    stuck = replace(POD, deleting=True, delete_by=overdue)
    decision = plan(PreparationView(NOW, POLICY, job(status={"preparation": UNDER_WAY}), stuck))
    assert decision.status is not None
    condition = decision.status.conditions[0]
    assert condition.reason == Reason.POD_STUCK
    assert "so the preparation stays blocked" in condition.message


def test_a_pod_whose_sidecar_outlives_the_trainer_is_deleted() -> None:
    class _StillLive(TrainingPod):
        live = True

    pod = _StillLive(**vars(ended()))
    decision = plan(PreparationView(NOW, POLICY, job(status={"preparation": UNDER_WAY}), pod))
    assert decision.action == DeletePod(pod)
    assert decision.status is not None
    assert decision.status.phase == Phase.QUEUED


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ({"reason": "Interrupted"}, "PreparationTimedOut"),
        ({}, "PreparationTimedOut"),
        ({"reason": "Completed"}, "Completed"),
        ({"reason": "DatasetInvalid"}, "DatasetInvalid"),
    ],
)
def test_a_verdict_before_the_deadline_counts(word: dict[str, Any], reason: str) -> None:
    end = Termination(143, "Error", word, pod_reason="DeadlineExceeded", pod_message="Pod was active for too long")
    decision = plan(PreparationView(NOW, POLICY, job(status={"preparation": UNDER_WAY}), replace(POD, termination=end)))
    assert decision.status is not None
    assert decision.status.preparation is not None
    assert decision.status.preparation.reason == reason
    assert decision.status.preparation.failures == (reason != "Completed")


def test_a_skipped_preparation_is_not_due() -> None:
    decision = plan(PreparationView(NOW, POLICY, job(), obstacle=(Reason.PREPARATION_SKIPPED, "no GPU is known")))
    assert decision.status is not None
    assert not is_due(replace(job(), status=decision.status), POLICY)
