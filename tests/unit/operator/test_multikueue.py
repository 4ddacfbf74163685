"""Decisions about jobs that MultiKueue runs in another cluster: in the manager cluster, and in the worker cluster."""

from dataclasses import replace
from typing import Any

import pytest

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import MULTIKUEUE, ConditionType, Phase, Reason
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.kueue import admission
from gpu_relay.domain.kueue.admission import AdmissionView, Decision
from gpu_relay.domain.kueue.workload import (
    AdoptWorkload,
    AskForQuota,
    ChangeRequest,
    ReturnQuota,
    WithdrawRequest,
    Workload,
)
from gpu_relay.domain.objects.job import Job
from tests.support.builders import KEY, NOW, job

NEW = Workload("vision", "w", "u", "1", 1, "2026-01-01T11:00:00Z", KEY.uid, "team", 0, "hash", True, False, ())


def condition(kind: str) -> dict[str, str]:
    since = "2026-01-01T11:30:00Z"
    return {"type": kind, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": since}


RESERVED = replace(NEW, reserved=True, conditions=(condition("QuotaReserved"),))
ADMITTED = replace(RESERVED, conditions=(*RESERVED.conditions, condition("Admitted")))
EVICTED = replace(ADMITTED, conditions=(*ADMITTED.conditions, condition("Evicted")))
FINISHED = replace(ADMITTED, conditions=(*ADMITTED.conditions, condition("Finished")))


def delegated(phase: Phase | None = None, **spec: Any) -> Job:
    return job(status=YoloTrainingJobStatus(phase=phase), local_queue="team", managedBy=MULTIKUEUE, **spec)


def decide(subject: Job, workload: Workload | None) -> Decision:
    return admission.plan_delegated(AdmissionView(NOW, subject, workload, "hash"))


def test_the_manager_cluster_requests_quota_and_reports_the_wait() -> None:
    assert decide(delegated(), None).action == AskForQuota()
    waits = decide(delegated(), NEW)
    assert waits.status is not None
    assert waits.status.conditions[0].reason == Reason.WAITING_FOR_KUEUE


@pytest.mark.parametrize("phase", [None, Phase.QUEUED, Phase.PREPARING, Phase.ACQUIRING, Phase.TRAINING])
@pytest.mark.parametrize("workload", [RESERVED, ADMITTED])
def test_from_then_on_the_status_is_that_of_the_other_cluster(phase: Phase | None, workload: Workload) -> None:
    decision = decide(delegated(phase), workload)
    assert (decision.action, decision.status) == (None, None)


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.TRAINING])
def test_an_eviction_returns_quota(phase: Phase) -> None:
    """Kueue then deletes the job in the other cluster; its training pod ends there."""
    assert decide(delegated(phase), EVICTED).action == ReturnQuota(EVICTED)


def test_a_result_may_follow_the_end_of_its_workload() -> None:
    assert decide(delegated(Phase.TRAINING), FINISHED) == Decision.wait(), "a new request would train it again"
    assert decide(delegated(Phase.TRAINING), replace(FINISHED, reserved=False)) == Decision.wait()
    assert decide(delegated(Phase.SUCCEEDED), None) == Decision.wait()


def test_a_suspended_job_leaves_the_other_cluster() -> None:
    asked = decide(delegated(Phase.TRAINING, suspend=True), ADMITTED)
    assert asked.action == WithdrawRequest(ADMITTED)
    done = decide(delegated(Phase.TRAINING, suspend=True), None)
    assert done.status is not None
    assert done.status.phase == Phase.SUSPENDED
    assert ConditionType.SUSPENDED in {each.type for each in done.status.conditions}


def test_a_priority_reaches_kueue() -> None:
    assert decide(delegated(Phase.TRAINING, priority=3), ADMITTED).action == ChangeRequest(ADMITTED, "team", 3)


def prebuilt(phase: Phase | None = None, **spec: Any) -> Job:
    subject = job(status=YoloTrainingJobStatus(phase=phase), local_queue="team", **spec)
    return replace(subject, prebuilt_workload="w")


def follow(subject: Job, workload: Workload | None) -> Decision:
    return admission.plan(AdmissionView(NOW, subject, workload, "another hash"))


def test_the_worker_cluster_adopts_the_workload_of_the_manager() -> None:
    lost = follow(prebuilt(), None)
    assert lost.action == AdoptWorkload()
    assert lost.status is not None
    assert "Workload w, which a label names, does not exist" in lost.status.conditions[0].message
    fresh = replace(prebuilt(), created="2026-01-01T11:59:59Z")
    assert follow(fresh, None).status is None
    assert follow(prebuilt(), replace(NEW, name="other")).action == AdoptWorkload()


def test_the_worker_cluster_changes_nothing_of_that_workload() -> None:
    for subject in (prebuilt(), prebuilt(priority=3), prebuilt(suspend=True), replace(prebuilt(), local_queue="b")):
        assert follow(subject, ADMITTED).action is None
        assert follow(subject, FINISHED).action is None
    assert follow(prebuilt(Phase.TRAINING, priority=3), ADMITTED).action is None
    assert follow(prebuilt(), EVICTED).action == ReturnQuota(EVICTED)


def test_no_other_part_of_the_operator_sees_a_delegated_job() -> None:
    cache = Cache(lambda _: True)
    raw = {
        "metadata": {
            "namespace": "vision", "name": "digits", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T11:00:00Z",
        },
        "spec": job().spec.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"managedBy": MULTIKUEUE},
    }  # fmt: skip
    cache.observe_job(raw)
    assert cache.jobs.get("u") is None
    found = cache.job("u")
    assert found is not None
    assert isinstance(found.spec, YoloTrainingJobSpec)
    cache.observe_job(raw, deleted=True)
    assert cache.job("u") is None
