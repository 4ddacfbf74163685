"""Jobs, Leases, residents and Events as the plugin's views get them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gpu_relay.api.v1alpha1 import (
    Attempt,
    Condition,
    GpuStatus,
    Progress,
    Turn,
    YoloTrainingJobSpec,
    YoloTrainingJobStatus,
)
from gpu_relay.domain.objects.event import JobEvent
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.quantities import timestamp

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU = "gpu-1"


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


def job(name: str = "digits", *, namespace: str = "vision", spec: dict[str, Any] | None = None, **status: Any) -> Job:
    base = {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi"},
    }
    parsed = YoloTrainingJobSpec.model_validate({**base, **(spec or {})})
    parsed_status = YoloTrainingJobStatus(**{"observed_generation": 1, **status})
    return Job(JobKey(namespace, name, f"uid-{name}"), 1, "1", timestamp(ago(minutes=30)), False, parsed, parsed_status)


def condition(kind: str, reason: str, message: str, status: str = "True") -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=timestamp(ago(minutes=5))
    )


def queued(name: str, position: int, reason: str = "WaitingInQueue", **more: Any) -> Job:
    waits = condition("Reconciling", reason, f"number {position} in the queue")
    return job(name, phase="Queued", queue_position=position, conditions=[waits], **more)


def training(name: str = "digits", *, fence: int = 7, **more: Any) -> Job:
    return job(
        name,
        phase="Training",
        gpu=GpuStatus(
            node="node-1", uuid=GPU.upper(), name="Tesla T4", resident="gpu-relay/sam3", total=15360, free_after=14910
        ),
        turn=Turn(fence=fence, since=timestamp(ago(minutes=4))),
        attempt=1,
        pod=f"{name}-1",
        progress=Progress(
            epoch=12, epochs=100, summary="12/100", metrics={"mAP50": 0.6}, eta=timestamp(ago(minutes=-10))
        ),
        conditions=[condition("Reconciling", "TrainingRunning", f"{name}-1 trains: epoch 12/100")],
        **more,
    )


def attempt(number: int, fence: int, reason: str = "Completed", *, minutes_ago: float = 10, took: float = 5) -> Attempt:
    return Attempt(
        number=number,
        pod=f"digits-{number}",
        fence=fence,
        reason=reason,
        message="said so",
        start_time=timestamp(ago(minutes=minutes_ago + took)),
        completion_time=timestamp(ago(minutes=minutes_ago)),
    )


def lease(
    owner: Job | None = None, *, fence: int = 7, gpu: str = GPU, node: str = "node-1", owed: str = "", **more: Any
) -> GpuLease:
    holder = owner.key.holder if owner else "resident"
    since = timestamp(ago(minutes=4))
    return GpuLease(gpu, "1", gpu, holder, fence, since, "secret", node, owed, **more)


def resident(report: GpuReport | None = None, **annotations: str) -> Resident:
    named = {f"gpurelay.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return Resident("gpu-relay", "sam3", "u", "node-1", "", {}, report, "", named)


def report(*, used: int = 14_000, state: str = "loaded", uuid: str = "GPU-1") -> GpuReport:
    loaded = state == "loaded"
    return GpuReport(uuid, "Tesla T4", 15_360, 450, used, 15_360 - 450 - used, 14_000, loaded, state, None)


def job_event(
    of: Job, reason: str, message: str = "", *, fence: int = 7, at: datetime = NOW, gpu: str = GPU, **facts: Any
) -> JobEvent:
    return JobEvent(of.key.namespace, of.key.name, of.key.uid, reason, message, at, False, fence, gpu=gpu, **facts)
