"""When a job is prepared, and what a preparing pod's end comes to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Attempt, Preparation, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import DeletePod, Prepare
from gpu_relay.domain.job.preparation import PreparationView, is_due, plan
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.objects.pvc import Pvc, claim_names
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.preparation_placement import Obstacle, Place, Surroundings, find_place
from gpu_relay.domain.queue.preparation_slots import share_out

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy(preparations=2, backoff_base=10)
CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}
POD = TrainingPod(
    "vision", "digits-1-prepare", "p", "uid", "", 0, "Running", None, False, timestamp(NOW), None, None, node="n"
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
        assert waiting.requeue_after is not None
        pauses.append(waiting.requeue_after)
        ready = now + timedelta(seconds=waiting.requeue_after)
        begun = plan(PreparationView(ready, POLICY, replace(job(), status=decision.status), may_begin=True))
        assert begun.status is not None
        status = begun.status
    assert pauses == [10, 20, 40]
    last = plan(PreparationView(NOW, POLICY, replace(job(), status=status), failed))
    assert last.status is not None
    assert (last.status.phase, last.action) == (Phase.FAILED, None)


def test_a_suspended_job_has_its_pod_stopped_once() -> None:
    suspended = job({"preparation": UNDER_WAY}, suspend=True)
    assert plan(PreparationView(NOW, POLICY, suspended, POD)).action == DeletePod(POD)
    assert plan(PreparationView(NOW, POLICY, suspended, replace(POD, deleting=True))).action is None
    assert plan(PreparationView(NOW, POLICY, suspended)).action is None


def test_a_pod_that_breaks_the_rules_of_pods_is_final() -> None:
    subject = job({"preparation": UNDER_WAY}, backoffLimit=3)
    decision = plan(PreparationView(NOW, POLICY, subject, refusal=(Reason.POD_REFUSED, "requests above limits")))
    assert decision.status is not None
    assert decision.status.phase == Phase.FAILED
    assert "requests above limits" in decision.events[0].message


def test_a_start_failure_is_noted_once_and_ends_the_pod_after_its_timeout() -> None:
    failing = replace(POD, phase="Pending", waiting="ErrImagePull: no such host", waiting_reason="ErrImagePull")
    first = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}), failing))
    assert first.status is not None
    assert first.status.preparation is not None
    assert first.status.preparation.failing_since == timestamp(NOW)
    later = NOW + timedelta(seconds=POLICY.start_failure_timeout + 1)
    given_up = plan(PreparationView(later, POLICY, replace(job(), status=first.status), failing))
    assert given_up.action == DeletePod(failing)
    assert given_up.status is not None
    assert given_up.status.preparation is not None
    assert (given_up.status.preparation.failures, given_up.status.preparation.failing_since) == (1, None)
    again = plan(PreparationView(later, POLICY, replace(job(), status=first.status), replace(POD, phase="Running")))
    assert again.status is not None
    assert again.status.preparation == UNDER_WAY, "it runs after all"


def test_a_failure_of_the_api_server_is_said_and_repeated_when_it_is_time() -> None:
    subject = job({"preparation": UNDER_WAY}, backoffLimit=0)
    waits = plan(PreparationView(NOW, POLICY, subject, failure="webhook is down", retry_in=4))
    assert (waits.action, waits.requeue_after) == (None, 4)
    assert waits.status is not None
    assert waits.status.phase == Phase.PREPARING
    again = plan(PreparationView(NOW, POLICY, replace(subject, status=waits.status), failure="webhook is down"))
    assert again.action == Prepare(1)
    assert again.status == waits.status, "nothing new is written"


@pytest.mark.parametrize("deleting", [True, False])
def test_a_name_that_is_taken_is_waited_for(deleting: bool) -> None:
    other = replace(POD, job_uid="another", deleting=deleting)
    decision = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}, backoffLimit=0), taken_by=other))
    assert decision.action is None
    assert decision.status is not None
    condition = decision.status.conditions[0]
    assert condition.reason == Reason.POD_NAME_TAKEN
    assert ("delete it" in condition.message) is not deleting


def test_a_preparing_pod_that_does_not_end_blocks_no_gpu() -> None:
    overdue = timestamp(NOW - timedelta(hours=1))
    stuck = replace(POD, deleting=True, delete_by=overdue)
    decision = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}), stuck))
    assert decision.status is not None
    condition = decision.status.conditions[0]
    assert condition.reason == Reason.POD_STUCK
    assert "so the preparation stays blocked" in condition.message


def test_a_pod_whose_sidecar_outlives_the_trainer_is_deleted_with_its_record() -> None:
    class _StillLive(TrainingPod):
        live = True

    pod = _StillLive(**vars(ended()))
    decision = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}), pod))
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
def test_what_a_pod_found_before_its_time_was_up_counts(word: dict[str, Any], reason: str) -> None:
    end = Termination(143, "Error", word, pod_reason="DeadlineExceeded", pod_message="Pod was active for too long")
    decision = plan(PreparationView(NOW, POLICY, job({"preparation": UNDER_WAY}), replace(POD, termination=end)))
    assert decision.status is not None
    assert decision.status.preparation is not None
    assert decision.status.preparation.reason == reason
    assert decision.status.preparation.failures == (reason != "Completed")


# Slots


def named(name: str, record: Preparation | None = None, *, namespace: str = "vision", priority: int = 0) -> Job:
    key = JobKey(namespace, name, f"uid-{name}")
    return replace(job({"preparation": record} if record else None, priority=priority), key=key)


FAILING = UNDER_WAY.model_copy(update={"failing_since": timestamp(NOW)})
PAUSED = UNDER_WAY.model_copy(update={"reason": "Error", "failures": 1, "completion_time": timestamp(NOW)})


def test_each_namespace_has_slots_of_its_own_in_the_queues_order() -> None:
    jobs = [named("a", UNDER_WAY), named("b"), named("c", priority=1), named("d", namespace="other")]
    assert share_out(jobs, (), NOW, POLICY) == {"uid-b": False, "uid-c": True, "uid-d": True}


def test_who_pauses_or_is_obstructed_needs_no_slot() -> None:
    jobs = [named("a", PAUSED), named("b"), named("c"), named("d")]
    shares = share_out(jobs, {"uid-b"}, NOW, Policy(preparations=1, backoff_base=10))
    assert shares == {"uid-a": None, "uid-b": None, "uid-c": True, "uid-d": False}


@pytest.mark.parametrize(("failing", "free"), [(0, 2), (1, 2), (2, 2), (3, 1), (4, 0), (5, 0)])
def test_pods_that_do_not_start_leave_the_slots_to_others_up_to_a_bound(failing: int, free: int) -> None:
    stuck = [named(f"stuck-{number}", FAILING) for number in range(failing)]
    shares = share_out([*stuck, *(named(f"waits-{number}") for number in range(3))], (), NOW, POLICY)
    assert sum(share is True for share in shares.values()) == free


# Where the pod may go


def gpu(node: str, *, total: int = 15360, **labels: str) -> Candidate:
    report = GpuReport(f"GPU-{node}", "T4", total, 450, 0, 14910, 14000, False, "unloaded", None)
    sam3 = Resident("vision", "sam3", node, node, "http://10.0.0.7:8000", labels, report)
    return Candidate(f"gpu-{node}", sam3, {})


BOUND, UNBOUND = {"c": Pvc(bound=True)}, {"c": Pvc(bound=False)}


def obstacle(seen: Surroundings, **spec: Any) -> Reason:
    found = find_place(job(**spec), seen, POLICY)
    assert isinstance(found, Obstacle)
    return found.reason


def test_unbound_claims_bind_where_a_gpu_fits_and_bound_ones_are_free() -> None:
    gpus = [gpu("small", total=4096), gpu("large"), gpu("also-large")]
    assert find_place(job(), Surroundings(gpus, claims=BOUND), POLICY) == Place(("also-large", "large"))
    assert find_place(job(), Surroundings(gpus, claims=UNBOUND), POLICY) == Place(
        ("also-large", "large"), required=True
    )


def test_what_is_unknown_is_no_obstacle_but_to_a_claim_that_would_be_bound() -> None:
    unknown = Surroundings([gpu("small", total=4096)], all_reported=False, claims=BOUND)
    assert find_place(job(), unknown, POLICY) == Place(("small",))
    assert obstacle(replace(unknown, claims=UNBOUND)) == Reason.RESIDENT_UNREACHABLE
    assert obstacle(replace(unknown, all_reported=True)) == Reason.NO_GPU_FITS
    alone = Surroundings(has_residents=False, claims=BOUND)
    assert find_place(job(), alone, POLICY) == Place()
    assert obstacle(replace(alone, claims=UNBOUND)) == Reason.PREPARATION_SKIPPED


def test_a_missing_claim_comes_first() -> None:
    assert obstacle(Surroundings([gpu("small", total=4096)], claims={"c": None})) == Reason.VOLUME_CLAIM_MISSING
    found = find_place(job(), Surroundings(claims={"c": None}), POLICY)
    assert isinstance(found, Obstacle)
    assert found.message == "PersistentVolumeClaim c does not exist in namespace vision: create it"
    assert claim_names(job()) == ("c",)


def test_a_job_that_is_left_to_its_training_pod_is_not_due() -> None:
    decision = plan(PreparationView(NOW, POLICY, job(), obstacle=(Reason.PREPARATION_SKIPPED, "no GPU is known")))
    assert decision.status is not None
    assert not is_due(replace(job(), status=decision.status), POLICY)
