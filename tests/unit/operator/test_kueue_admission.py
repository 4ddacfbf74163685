"""Decisions about a job's admission by Kueue, rule by rule."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import Condition, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.clients.workloads import pod_set_template, request_hash, workload_of
from gpu_relay.domain.kueue import admission
from gpu_relay.domain.kueue.admission import AdmissionView, Decision
from gpu_relay.domain.kueue.workload import (
    AskForQuota,
    ChangeRequest,
    FinishWorkload,
    ReturnQuota,
    SayPodsReady,
    WithdrawRequest,
    Workload,
)
from gpu_relay.domain.objects.demand import Grant
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate, filter_reason
from gpu_relay.pods.pod_builder import TrainerDefaults, requested_pod
from tests.support.builders import KEY, NOW, job, resident

NEW = Workload("vision", "w", "u", "1", 1, "2026-01-01T11:59:59Z", KEY.uid, "team", 0, "hash", True, False, ())


def a_condition(kind: str, reason: str, message: str = "m") -> Condition:
    since = "2026-01-01T11:00:00Z"
    return Condition(type=kind, status="True", reason=reason, message=message, last_transition_time=since)


def a_job(phase: Phase | None = None, reason: Reason | None = None, **changes: Any) -> Job:
    status = YoloTrainingJobStatus(phase=phase, conditions=[a_condition("Reconciling", reason)] if reason else [])
    return job(status=status, local_queue="team", **changes)


def said(kind: str, status: str, message: str = "") -> dict[str, str]:
    since = "2026-01-01T11:30:00Z"
    return {"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": since}


def also(workload: Workload, *conditions: dict[str, str]) -> Workload:
    return replace(workload, conditions=(*workload.conditions, *conditions))


ADMITTED = replace(NEW, reserved=True, conditions=(said("QuotaReserved", "True"), said("Admitted", "True")))
EVICTED = also(ADMITTED, said("Evicted", "True", "Preempted to accommodate"))


def decide(job: Job, workload: Workload | None, *, absence: str = "") -> Decision:
    return admission.plan(AdmissionView(NOW, job, workload, "hash", absence))


def condition_of(decision: Decision) -> tuple[str, str]:
    assert decision.status is not None
    condition = next(each for each in decision.status.conditions if each.type == "Reconciling")
    return condition.reason, condition.message


def test_a_new_job_requests_quota_without_a_condition() -> None:
    assert decide(a_job(), None) == Decision.act(AskForQuota(), requeue_after=5.0)
    assert decide(a_job(), NEW) == Decision.requeue(5.0)


def test_a_silent_kueue_is_reported_after_a_while() -> None:
    reason, message = condition_of(decide(a_job(), replace(NEW, created="2026-01-01T11:00:00Z")))
    assert (reason, message.endswith("does its controller run?")) == ("WaitingForKueue", True)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (replace(NEW, conditions=(said("QuotaReserved", "False", "no quota"),)), "no quota"),
        (replace(NEW, active=False), "The workload is deactivated"),
        (replace(NEW, reserved=True, conditions=(said("QuotaReserved", "True"),)), "admission checks are not done yet"),
    ],
)
def test_kueues_message_is_shown(workload: Workload, words: str) -> None:
    reason, message = condition_of(decide(a_job(), workload))
    assert reason == "WaitingForKueue"
    assert message.startswith("Kueue's LocalQueue vision/team: ")
    assert message.endswith(words)


def test_admission_is_reported_once_and_admits_the_job() -> None:
    assert [each.reason for each in decide(a_job(), ADMITTED).events] == [Reason.ADMITTED]
    assert decide(a_job(Phase.QUEUED, Reason.WAITING_IN_QUEUE), ADMITTED) == Decision.wait()
    assert admission.admits(a_job(), ADMITTED)
    assert admission.withdrawal(a_job(), ADMITTED) == ""


@pytest.mark.parametrize(
    "workload",
    [
        None, NEW, EVICTED, replace(ADMITTED, active=False), replace(ADMITTED, deleting=True),
        replace(ADMITTED, reserved=False), also(ADMITTED, said("Finished", "True")),
    ],
)  # fmt: skip
def test_a_job_without_admission_does_not_continue(workload: Workload | None) -> None:
    assert not admission.admits(a_job(), workload)
    assert "Kueue's LocalQueue vision/team has withdrawn the quota: " in admission.withdrawal(a_job(), workload)
    assert admission.admits(replace(a_job(), local_queue=""), workload), "the job does not use Kueue"


@pytest.mark.parametrize("phase", [Phase.ACQUIRING, Phase.TRAINING, Phase.RELEASING])
def test_quota_is_used_until_the_turn_ends(phase: Phase) -> None:
    for workload in (EVICTED, replace(ADMITTED, queue="other"), replace(ADMITTED, request="other"), None):
        assert decide(a_job(phase), workload) == Decision.wait()
    assert decide(a_job(phase, suspend=True), ADMITTED) == Decision.wait()


def test_quota_is_returned_when_nothing_runs() -> None:
    decision = decide(a_job(Phase.QUEUED, Reason.QUOTA_WITHDRAWN), EVICTED)
    assert decision.action == ReturnQuota(EVICTED)
    assert condition_of(decision) == (
        "WaitingForKueue",
        "Kueue's LocalQueue vision/team: Preempted to accommodate",
    )


def test_pods_are_reported_ready_once() -> None:
    job = a_job(Phase.TRAINING, Reason.TRAINING_RUNNING)
    assert decide(job, ADMITTED).action == SayPodsReady(ADMITTED)
    assert decide(a_job(Phase.TRAINING, Reason.POD_NOT_STARTED), ADMITTED).action is None
    assert decide(job, also(ADMITTED, said("PodsReady", "True"))).action is None


def test_changes_of_the_job_reach_kueue() -> None:
    assert decide(a_job(priority=3), NEW).action == ChangeRequest(NEW, "team", 3)
    assert decide(replace(a_job(), local_queue="other"), NEW).action == ChangeRequest(NEW, "other", 0)
    assert decide(a_job(Phase.TRAINING, priority=3), ADMITTED).action == ChangeRequest(ADMITTED, "team", 3)
    assert decide(replace(a_job(), local_queue="other"), ADMITTED).action == WithdrawRequest(ADMITTED), (
        "a queue is fixed"
    )
    outdated = replace(NEW, request="another")
    assert decide(a_job(), outdated).action == WithdrawRequest(outdated)


def test_a_job_that_does_not_wait_holds_no_quota() -> None:
    assert decide(a_job(Phase.SUSPENDED, suspend=True), ADMITTED).action == WithdrawRequest(ADMITTED)
    assert decide(replace(a_job(), local_queue=""), ADMITTED).action == WithdrawRequest(ADMITTED)
    assert decide(a_job(suspend=True), replace(ADMITTED, deleting=True)).action is None


@pytest.mark.parametrize(("phase", "kind"), [(Phase.SUCCEEDED, "Complete"), (Phase.FAILED, "Failed")])
def test_the_end_is_reported_to_kueue_once(phase: Phase, kind: str) -> None:
    job = a_job(phase)
    job = replace(job, status=job.status.model_copy(update={"conditions": [a_condition(kind, "R", "why")]}))
    assert decide(job, ADMITTED).action == FinishWorkload(ADMITTED, str(phase), "why")
    finished = replace(ADMITTED, conditions=(said("Finished", "True"),))
    assert decide(job, finished) == decide(job, None) == Decision.wait(), "Kueue may have deleted it already"


def test_a_missing_kueue_is_reported() -> None:
    decision = decide(a_job(), None, absence="there is none")
    assert condition_of(decision) == (
        "KueueMissing",
        "the label names Kueue's LocalQueue vision/team, but there is none",
    )
    assert decision.requeue_after == 30.0
    assert decide(a_job(Phase.TRAINING), None, absence="there is none") == Decision.wait()


def test_a_request_has_only_what_kueue_reads() -> None:
    resources = {"requests": {"cpu": "2"}}
    job = a_job(
        podTemplate={"resources": resources, "nodeSelector": {"zone": "a"}, "env": [{"name": "A", "value": "1"}]}
    )
    defaults = TrainerDefaults("yolo:1", "nvidia.com/gpu", 60.0)
    spec = pod_set_template(requested_pod(job, defaults))["spec"]
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    assert spec["containers"] == [{"name": "trainer", "image": "yolo:1", "resources": {**resources, **limits}}]
    assert (spec["nodeSelector"], spec["restartPolicy"]) == ({"zone": "a"}, "Never")
    assert "volumes" not in spec
    same = replace(defaults, image="yolo:2")
    assert request_hash({"spec": spec}) == request_hash(pod_set_template(requested_pod(job, same))), "quota is the same"
    other = replace(defaults, gpu_resource="nvidia.com/gpu.shared")
    assert request_hash({"spec": spec}) != request_hash(pod_set_template(requested_pod(job, other)))


def test_a_workload_is_read() -> None:
    raw = {
        "metadata": {
            "namespace": "vision", "name": "w", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T11:00:00Z", "labels": {"gpurelay.dev/job-uid": "uid-1"},
        },
        "spec": {"queueName": "team", "active": False},
        "status": {
            "admission": {"podSetAssignments": [{"name": "main", "flavors": {"cpu": "any", "nvidia.com/gpu": "t4"}}]},
            "admissionChecks": [{"name": "c", "podSetUpdates": [{"name": "main", "nodeSelector": {"rack": "1"}}]}],
        },
    }  # fmt: skip
    workload = workload_of(raw)
    assert (workload.job_uid, workload.queue, workload.active) == ("uid-1", "team", False)
    assert (workload.reserved, workload.flavors) == (True, ("any", "t4"))
    assert workload.checks == Grant({"rack": "1"}, ())


def test_quota_is_used_where_it_was_granted() -> None:
    job = replace(a_job(podTemplate={"nodeSelector": {"zone": "a"}}), grant=Grant({"gpu": "t4"}))
    elsewhere = Candidate("gpu-1", resident(namespace="vision"), {"zone": "a", "gpu": "a100"})
    assert filter_reason(job.demand, elsewhere, Policy()) == "node node-1 lacks the label gpu=t4"
    assert filter_reason(job.demand, replace(elsewhere, node_labels=job.node_selector), Policy()) is None
