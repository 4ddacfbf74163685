"""Each job and Workload in one line: phase, reason, position, eta: the fields of `kubectl relay jobs -o json`."""

from dataclasses import dataclass, field
from datetime import datetime

from gpu_relay.api.v1alpha1 import Condition, YoloTrainingJobStatus
from gpu_relay.api.words import TERMINAL_PHASES, ConditionType, Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.queue.order import queue_key
from gpu_relay.overview.queue import positions
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.workloads import state_of, turns_of

_EXPLAINING = (
    ConditionType.STALLED,
    ConditionType.FAILED,
    ConditionType.COMPLETE,
    ConditionType.SUSPENDED,
    ConditionType.RECONCILING,
)
"""Conditions that explain the phase of a job, the most severe first."""
_ENDED = TERMINAL_PHASES | {Phase.SUSPENDED}
_Rank = tuple[bool, bool, int, tuple[int, str, str]]


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
    """The UUID of the GPU that the job owns, of several separated by commas; empty where it owns none."""
    node: str
    """The node of that GPU, or the nodes."""
    created: datetime
    ended: datetime | None
    represents: Represented | None = field(default=None, metadata={"omit_default": True})
    """The object that a Workload represents; None for a job."""


def jobs_of(snapshot: ClusterSnapshot) -> list[JobLine]:
    """Return the jobs that own a GPU, then the queue in its order, then others that wait, then those that ended.

    Workloads that have the operator's check are among the jobs.
    """
    places = positions(snapshot)
    ranked = [(_rank(job), _line(job)) for job in snapshot.jobs]
    ranked += [_ranked_workload(each, snapshot, places.get(each.key.uid)) for each in snapshot.workloads]
    lines = [line for _, line in sorted(ranked, key=lambda each: each[0])]
    ended = [line for line in lines if line.phase in _ENDED]
    ended.sort(key=lambda line: line.ended or line.created, reverse=True)
    return [*(line for line in lines if line.phase not in _ENDED), *ended]


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


def _rank(job: Job) -> _Rank:
    position = job.status.queue_position
    return job.status.turn is None, position is None, position or 0, queue_key(job)


def _ranked_workload(listed: ListedWorkload, snapshot: ClusterSnapshot, position: int | None) -> tuple[_Rank, JobLine]:
    """Return the line of a Workload, and its place among the lines."""
    workload, turns = listed.workload, turns_of(listed, snapshot.leases)
    state = state_of(listed, next(iter(turns), None))
    line = JobLine(
        job=listed.key,
        phase=state.phase.value,
        reason=state.reason,
        message=state.message,
        position=position,
        priority=workload.priority,
        starts=None,
        epoch="",
        ends=None,
        gpu=",".join(each.gpu for each in turns),
        node=",".join(dict.fromkeys(each.node for each in turns)),
        created=parse_time(workload.created),
        ended=parse_time(listed.finished_at) if listed.finished_at else None,
        represents=listed.represents,
    )
    return (not turns, position is None, position or 0, queue_key(workload)), line


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
