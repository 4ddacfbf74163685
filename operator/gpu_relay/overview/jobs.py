"""Each job in one line: phase, reason, position, eta. The fields are those of `kubectl relay jobs -o json`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.api.v1alpha1 import Condition, YoloTrainingJobStatus
from gpu_relay.api.words import TERMINAL_PHASES, ConditionType, Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.queue.placement import queue_key

_EXPLAINING = (
    ConditionType.STALLED,
    ConditionType.FAILED,
    ConditionType.COMPLETE,
    ConditionType.SUSPENDED,
    ConditionType.RECONCILING,
)
"""Conditions that explain the phase of a job, the most severe first."""
_ENDED = TERMINAL_PHASES | {Phase.SUSPENDED}


@dataclass(frozen=True)
class JobLine:
    """A job; what is None or empty is not known, or does not apply."""

    job: JobKey
    phase: str
    """Empty before the operator has seen the job."""
    reason: str
    message: str
    position: int | None
    """Position in the queue; None for a job that does not wait for a GPU."""
    priority: int
    starts: datetime | None
    """When the job's turn is expected to begin."""
    epoch: str
    """`12/100`; empty before the first."""
    ends: datetime | None
    """When the training is expected to end."""
    gpu: str
    """The UUID of the GPU that the job owns; empty where it owns none."""
    node: str
    """The node of that GPU."""
    created: datetime
    ended: datetime | None


def jobs_of(jobs: Iterable[Job]) -> list[JobLine]:
    """Return the jobs that own a GPU, then the queue in its order, then other jobs that wait, then those that ended."""
    lines = sorted(jobs, key=_order)
    ended = [job for job in lines if _has_ended(job)]
    ended.sort(key=lambda job: job.status.completion_time or job.created, reverse=True)
    return [_line(job) for job in [*(job for job in lines if not _has_ended(job)), *ended]]


def explaining_condition(status: YoloTrainingJobStatus) -> Condition | None:
    """Return the condition that explains the phase of a job."""
    true = {condition.type: condition for condition in status.conditions if condition.status == "True"}
    return next((true[kind] for kind in _EXPLAINING if kind in true), None)


def expected_start(job: Job) -> datetime | None:
    """Return when the turn of a job that waits is expected to begin; None while that is unknown."""
    start = job.status.estimated_start_time
    return parse_time(start) if start else None


def expected_end(job: Job) -> datetime | None:
    """Return when the training of a job is expected to end; None while that is unknown."""
    progress = job.status.progress
    return parse_time(progress.eta) if progress and progress.eta and job.status.phase == Phase.TRAINING else None


def _has_ended(job: Job) -> bool:
    return job.status.phase in _ENDED


def _order(job: Job) -> tuple[bool, bool, int, tuple[int, str, str]]:
    position = job.status.queue_position
    return job.status.turn is None, position is None, position or 0, queue_key(job)


def _line(job: Job) -> JobLine:
    status, condition = job.status, explaining_condition(job.status)
    owned = status.gpu if status.turn is not None else None
    return JobLine(
        job=job.key,
        phase=status.phase or "",
        reason=condition.reason if condition else "",
        message=condition.message if condition else "",
        position=status.queue_position,
        priority=job.spec.priority,
        starts=expected_start(job),
        epoch=status.progress.summary if status.progress else "",
        ends=expected_end(job),
        gpu=(owned.uuid or "") if owned else "",
        node=(owned.node or "") if owned else "",
        created=parse_time(job.created),
        ended=parse_time(status.completion_time) if status.completion_time else None,
    )
