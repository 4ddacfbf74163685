"""What the page shows of a job: pure functions from the API server's objects to small JSON."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gpu_relay.api.v1alpha1 import (
    Attempt,
    Condition,
    Dataset,
    Output,
    Progress,
    YoloTrainingJobSpec,
    YoloTrainingJobStatus,
)
from gpu_relay.api.words import ConditionType
from gpu_relay.domain.job.metrics_curve import Point, points
from gpu_relay.domain.objects.event import JobEvent
from gpu_relay.domain.objects.job import Job, UnreadableJobError, job_of
from gpu_relay.overview.jobs import explaining_condition
from gpu_relay.overview.ownership import JobOnGpu, job_on_gpu

Object = dict[str, Any]
_HEADLINES = ("mAP50_95", "mAP50", "top1", "top5")
_TIMELINE = 12
"""Attempts of a job that the timeline of its GPU shows; the job's details have all of them."""
_SENTENCE = 300


@dataclass(frozen=True)
class JobRow:
    """A job as the feed keeps it: its line, and what it records of its GPU."""

    summary: Object
    on_gpu: JobOnGpu | None


def row(raw: Object) -> JobRow:
    """Read a job for the list; a job that cannot be read is shown with the fields that cannot."""
    try:
        job = job_of(raw)
    except UnreadableJobError as error:
        return JobRow(_unreadable(raw, error), None)
    return JobRow(summary(job), job_on_gpu(job))


def summary(job: Job) -> Object:
    """Return a job's line: enough for the list of jobs and the timeline of its GPU.

    Times are RFC 3339 as the API server has them, sizes MiB or as written in the spec.
    """
    spec, status = job.spec, job.status
    reason, message = _why(status)
    return {
        "uid": job.key.uid,
        "namespace": job.key.namespace,
        "name": job.key.name,
        "version": job.resource_version,
        "created": job.created,
        "phase": status.phase or "New",
        "reason": reason,
        "message": message[:_SENTENCE],
        "priority": spec.priority,
        "need": spec.gpu.memory,
        "position": status.queue_position,
        "expected": status.estimated_start_time,
        "gpu": _plain(status.gpu),
        "turn": {"since": status.turn.since, "stopping": status.turn.stopping} if status.turn else None,
        "progress": _progress(status.progress),
        "headline": headline(status),
        "attempts": [_attempt(each) for each in status.attempts[-_TIMELINE:]],
        "ended": status.completion_time,
    }


def details(job: Job) -> Object:
    """Return what the page shows of the job that the viewer has opened."""
    status = job.status
    return {
        **summary(job),
        "why": _why(status)[1],
        "spec": _facts(job.spec),
        "conditions": [_condition(each) for each in status.conditions],
        "attempts": [_attempt_details(each) for each in status.attempts],
        "curve": [_point(each) for each in points(status.curve)],
        "results": _plain(status.results) or {},
        "preparation": _plain(status.preparation),
        "pod": status.pod or "",
    }


def headline(status: YoloTrainingJobStatus) -> list[Any] | None:
    """Return name and value of the metric that a job is best compared by: of its results, or of the last epoch."""
    known = [status.results.metrics if status.results else {}, status.progress.metrics if status.progress else {}]
    for metrics in known:
        for name in _HEADLINES:
            if name in metrics:
                return [name, metrics[name]]
    return None


def event(event: JobEvent) -> Object:
    """Return an Event of a job."""
    return {
        "time": event.at.isoformat(),
        "warning": event.warning,
        "reason": event.reason,
        "message": event.message,
    }


def _unreadable(raw: Object, error: UnreadableJobError) -> Object:
    meta, key = raw["metadata"], error.job.key
    absent = dict.fromkeys(("position", "expected", "gpu", "turn", "progress", "headline", "ended"))
    return {
        "uid": key.uid,
        "namespace": key.namespace,
        "name": key.name,
        "version": error.job.resource_version,
        "created": meta["creationTimestamp"],
        "phase": ConditionType.UNREADABLE.value,
        "reason": ConditionType.UNREADABLE.value,
        "message": error.fields[:_SENTENCE],
        "priority": 0,
        "need": "",
        "attempts": [],
        **absent,
    }


def _why(status: YoloTrainingJobStatus) -> tuple[str, str]:
    condition = explaining_condition(status)
    return (condition.reason, condition.message) if condition else ("", "")


def _plain(part: BaseModel | None) -> Object | None:
    """Return a part of a status as the API server has it, with null for what is absent."""
    return part.model_dump(mode="json", by_alias=True) if part is not None else None


def _progress(progress: Progress | None) -> Object | None:
    if progress is None:
        return None
    return {"epoch": progress.epoch, "epochs": progress.epochs, "stage": progress.stage, "eta": progress.eta}


def _attempt(attempt: Attempt) -> Object:
    return {
        "number": attempt.number,
        "reason": attempt.reason,
        "start": attempt.start_time,
        "end": attempt.completion_time,
        "gpu": attempt.gpu,
    }


def _attempt_details(attempt: Attempt) -> Object:
    names = ("pod", "message", "exit_code", "epoch", "batch")
    return {**_attempt(attempt), **attempt.model_dump(by_alias=True, include=set(names))}


def _condition(condition: Condition) -> Object:
    names = ("type", "status", "reason", "message", "last_transition_time")
    return condition.model_dump(mode="json", by_alias=True, include=set(names))


def _point(point: Point) -> Object:
    return {"epoch": point.epoch, "metrics": dict(point.metrics), "losses": dict(point.losses)}


def _facts(spec: YoloTrainingJobSpec) -> Object:
    training = spec.training
    return {
        "model": spec.model,
        "task": spec.task,
        "mode": spec.mode,
        "dataset": _place(spec.dataset),
        "output": _place(spec.output),
        "resumeFrom": spec.resume_from,
        "epochs": training.epochs if spec.trains else None,
        "patience": training.patience if spec.trains else None,
        "timeLimit": training.time_limit,
        "seed": training.seed,
        "validation": spec.validation.split if spec.validation else None,
        "imageSize": training.image_size,
        "batch": training.batch,
        "memory": spec.gpu.memory,
        "sharing": spec.gpu.sharing,
        "priority": spec.priority,
        "preemptible": spec.preemptible,
        "backoffLimit": spec.backoff_limit,
        "args": {name: json.dumps(value, ensure_ascii=False) for name, value in sorted(training.args.items())},
    }


def _place(data: Dataset | Output) -> str:
    """Return where data is: its PVC, its URI or both, and the path inside."""
    claim = data.persistent_volume_claim
    parts = [f"PVC {claim.claim_name}" if claim else "", data.uri or "", data.path]
    return ", ".join(filter(None, parts))
