"""When a job waits for a review of its labels, and how an approval ends the wait."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Dataset, Labelling, Preparation, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.decision import Decision, Prepare
from gpu_relay.domain.job import review
from gpu_relay.domain.job.preparation import PreparationView, is_due, is_under_way, pause, plan
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import Termination
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.placement import longest_wait
from gpu_relay.domain.queue.preparation_slots import share_out
from tests.support.builders import NOW, ago, job, pod
from tests.support.specs import SCHEMA

POLICY = Policy(preparations=1, backoff_base=10)
POD = pod(name="digits-1-prepare", gpu="", fence=0, ip=None, created=ago(0))
UNDER_WAY = Preparation(number=1, pod="digits-1-prepare", start_time=ago(0))
WAITING = UNDER_WAY.model_copy(
    update={"reason": "WaitingForReview", "message": "904 labels", "completion_time": ago(0), "images": {"train": 8}}
)
TO_REVIEW = {"labels": 904, "doubtful": 86}


def labelled(record: Preparation, *, approved: bool = False, required: str = "Required", **fields: Any) -> Job:
    label = {"prompts": [{"text": "dent", "class": "dent"}], "review": required, "approved": approved}
    dataset = {"persistentVolumeClaim": {"claimName": "data"}, "label": label}
    return job(status={"phase": Phase.PREPARING, "preparation": record}, dataset=dataset, **fields)


def ended(subject: Job, **word: Any) -> Decision:
    last = Termination(0, "Completed", {"reason": "Completed", "message": "prepared", **word})
    return plan(PreparationView(NOW, POLICY, subject, replace(POD, termination=last)))


def status_of(decision: Decision) -> YoloTrainingJobStatus:
    assert decision.status is not None
    return decision.status


def test_a_job_with_labels_waits_for_the_approval() -> None:
    decision = ended(labelled(UNDER_WAY), review=TO_REVIEW)
    status = status_of(decision)
    assert status.phase == Phase.PREPARING
    (event,) = decision.events
    assert (event.reason, event.message) == ("WaitingForReview", status.conditions[0].message)
    assert event.message == (
        "904 labels, 86 to review: see review.csv and sheets/ in folder digits/labelled of PVC results, and correct "
        "what is wrong. Then run `kubectl relay -n vision approve digits`, or set spec.dataset.label.approved to true"
    )
    waiting = replace(labelled(UNDER_WAY), status=status)
    assert review.waits(waiting)
    assert not is_under_way(waiting), "it has neither a pod nor a slot"
    assert is_due(waiting, POLICY)
    still = plan(PreparationView(NOW, POLICY, waiting, may_begin=True))
    assert (still.action, still.events, still.requeue_after) == (None, (), None)


@pytest.mark.parametrize("said", [None, 904, {"labels": "many", "doubtful": 1}, {"labels": -1, "doubtful": 1}])
def test_an_invalid_report_of_labels_waits_without_figures(said: Any) -> None:
    message = status_of(ended(labelled(UNDER_WAY), review=said)).conditions[0].message
    assert message.startswith("see review.csv")


def test_a_pod_that_reports_no_labels_does_not_skip_the_review() -> None:
    assert status_of(ended(labelled(UNDER_WAY))).phase == Phase.PREPARING


@pytest.mark.parametrize("subject", [labelled(UNDER_WAY, approved=True), labelled(UNDER_WAY, required="Optional")])
def test_a_job_without_a_pending_review_is_prepared(subject: Job) -> None:
    assert status_of(ended(subject)).phase == Phase.QUEUED


def test_a_pod_that_began_before_the_approval_is_followed_at_once() -> None:
    """People may have corrected labels that the pod has not seen."""
    approved = labelled(UNDER_WAY, approved=True)
    decision = ended(approved, review=TO_REVIEW)
    assert decision.events == ()
    assert status_of(decision).conditions[0].reason == Reason.PREPARING
    following = plan(PreparationView(NOW, POLICY, replace(approved, status=status_of(decision)), may_begin=True))
    assert following.action == Prepare(2)


def test_an_approval_begins_a_preparation_without_a_pause() -> None:
    approved = labelled(WAITING, approved=True)
    assert pause(approved, NOW, POLICY) == 0
    assert plan(PreparationView(NOW, POLICY, approved, may_begin=True)).action == Prepare(2)


def test_a_job_that_is_resumed_waits_for_its_review_again() -> None:
    suspended = labelled(WAITING)
    resumed = replace(suspended, status=suspended.status.model_copy(update={"phase": Phase.SUSPENDED}))
    status = status_of(plan(PreparationView(NOW, POLICY, resumed)))
    assert (status.phase, status.preparation) == (Phase.PREPARING, WAITING)
    reasons = {(each.type, each.reason, each.message) for each in status.conditions}
    assert ("Reconciling", "WaitingForReview", "904 labels") in reasons


def test_a_job_that_waits_for_a_review_takes_no_slot() -> None:
    waiting, other = labelled(WAITING, priority=5), job("other")
    assert share_out([waiting, other], (), NOW, POLICY) == {"uid-digits": None, "uid-other": True}


def test_a_failed_check_of_corrected_labels_ends_the_job() -> None:
    record = WAITING.model_copy(update={"number": 2, "pod": "digits-2-prepare", "reason": None})
    last = Termination(4, "Error", {"reason": "DatasetInvalid", "message": "labels/train/a.txt: line 2: not a number"})
    decision = plan(PreparationView(NOW, POLICY, labelled(record, approved=True), replace(POD, termination=last)))
    status = status_of(decision)
    assert status.phase == Phase.FAILED
    assert "labels/train/a.txt: line 2" in status.conditions[0].message


def test_the_time_of_a_review_is_no_wait_for_a_gpu() -> None:
    prepared = WAITING.model_copy(update={"reason": "Completed", "completion_time": ago(60)})
    assert longest_wait([replace(labelled(prepared, approved=True), created=ago(200_000))], NOW) == 60


def test_of_a_data_set_only_the_approval_may_change() -> None:
    rules = SCHEMA["x-kubernetes-validations"]
    (rule,) = (each["rule"] for each in rules if each["message"].startswith("dataset cannot be changed"))
    fields = {each.alias for each in Dataset.model_fields.values()} - {"label"}
    parts = {each.alias for each in Labelling.model_fields.values()} - {"approved"}
    for name in fields | {f"label.{part}" for part in parts}:
        assert f"self.dataset.{name} == oldSelf.dataset.{name}" in rule
