"""When a job is prepared, and what a preparing pod's end comes to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Attempt, Preparation, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.model import Job, JobKey, Policy, Termination, TrainingPod
from gpu_relay.domain.preparation import PreparationView, is_due, plan
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.steps import DeletePod, Prepare

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy(preparations=2, backoff_base=10)
CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}
POD = TrainingPod(
    "vision", "digits-1-prepare", "p", "uid", 0, "", 0, "Running", None, False, timestamp(NOW), None, None, node="n"
)
UNDER_WAY = Preparation(number=1, pod="digits-1-prepare", start_time=timestamp(NOW))


def job(status: dict[str, Any] | None = None, **spec: Any) -> Job:
    base = {"model": "m.yaml", "dataset": CLAIM, "output": CLAIM, "gpu": {"memory": "10Gi"}}
    parsed = YoloTrainingJobSpec.model_validate({**base, **spec})
    key = JobKey("vision", "digits", "uid")
    return Job(key, 1, "1", timestamp(NOW), False, parsed, YoloTrainingJobStatus(**(status or {})))


def ended(**word: Any) -> TrainingPod:
    return replace(POD, termination=Termination(0, "Completed", {"reason": "Completed", **word}))


ATTEMPT = Attempt(number=1, pod="p", fence=1, reason="Error", completion_time=timestamp(NOW))
DONE = UNDER_WAY.model_copy(update={"reason": "Completed"})


@pytest.mark.parametrize(
    ("subject", "due"),
    [
        (job(), True),
        (job({"phase": Phase.QUEUED}), True),
        (job({"phase": Phase.SUSPENDED, "preparation": UNDER_WAY}), True),
        (job({"phase": Phase.QUEUED, "preparation": DONE}), False),
        (job({"phase": Phase.QUEUED, "attempts": [ATTEMPT]}), False),
        (job({"phase": Phase.ACQUIRING}), False),
        (job({"phase": Phase.FAILED}), False),
        (job(output={"uri": "s3://models/x"}), False),
        (job(training={"args": {"epochs": 3}}), False),
    ],
)
def test_who_is_prepared(subject: Job, due: bool) -> None:
    assert is_due(subject, POLICY) is due


def test_a_setting_leaves_it_to_the_training_pods_but_ends_what_it_began() -> None:
    nobody = Policy(preparations=0)
    assert not is_due(job(), nobody)
    assert is_due(job({"preparation": UNDER_WAY}), nobody)


def test_it_is_on_record_before_the_pod_is_created() -> None:
    decision = plan(PreparationView(NOW, POLICY, job(), may_begin=True))
    assert decision.step == Prepare(1)
    assert decision.status is not None
    again = plan(PreparationView(NOW, POLICY, replace(job(), status=decision.status)))
    assert again.step == Prepare(1), "the operator may have died in between"
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
def test_a_senseless_last_word_prepares_all_the_same(said: Any) -> None:
    decision = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}), ended(prepared=said)))
    assert decision.status is not None
    record = decision.status.preparation
    assert record is not None
    assert (decision.status.phase, record.reason) == (Phase.QUEUED, "Completed")
    assert (record.seconds, record.bytes, record.images) == (None, None, {})


def test_failures_pause_longer_and_longer_and_end_at_the_limit() -> None:
    status = YoloTrainingJobStatus(preparation=UNDER_WAY)
    pauses: list[float] = []
    failed = replace(POD, termination=Termination(1, "Error", {"reason": "Error", "message": "no route"}))
    for _ in range(3):
        now = NOW + timedelta(seconds=sum(pauses))
        decision = plan(PreparationView(now, POLICY, replace(job(), status=status), failed))
        assert decision.status is not None
        waiting = plan(PreparationView(now, POLICY, replace(job(), status=decision.status), may_begin=True))
        assert waiting.again_in is not None
        pauses.append(waiting.again_in)
        ready = now + timedelta(seconds=waiting.again_in)
        begun = plan(PreparationView(ready, POLICY, replace(job(), status=decision.status), may_begin=True))
        assert begun.status is not None
        status = begun.status
    assert pauses == [10, 20, 40]
    last = plan(PreparationView(NOW, POLICY, replace(job(), status=status), failed))
    assert last.status is not None
    assert (last.status.phase, last.step) == (Phase.FAILED, None)


def test_a_suspended_job_has_its_pod_stopped_once() -> None:
    suspended = job({"preparation": UNDER_WAY}, suspend=True)
    assert plan(PreparationView(NOW, POLICY, suspended, POD)).step == DeletePod(POD)
    assert plan(PreparationView(NOW, POLICY, suspended, replace(POD, deleting=True))).step is None
    assert plan(PreparationView(NOW, POLICY, suspended)).step is None


def test_a_refusal_counts_as_a_failure() -> None:
    subject = job({"preparation": UNDER_WAY}, backoffLimit=0)
    decision = plan(PreparationView(NOW, POLICY, subject, refusal=(Reason.POD_REFUSED, "exceeded quota")))
    assert decision.status is not None
    assert decision.status.phase == Phase.FAILED
    assert "exceeded quota" in decision.notices[0].message
