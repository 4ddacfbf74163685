"""Apply what a controller has decided about a job: its status, its Events and one action, in this module alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import TERMINAL_PHASES, Phase, Reason
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.job import Job, UnreadableJob
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.turn.workload_events import WorkloadSubject
from gpu_relay.observability import metrics

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of a change."""

    APPLIED = auto()
    CONFLICT = auto()
    """An object has changed since it was read: a newer version follows, or a live read returns it."""
    GONE = auto()
    """The job, or the object of the action, does not exist."""


@dataclass(frozen=True)
class Change:
    """A change of one job, or the Events of a Workload's turn. Each is published once for job, `number` and reason."""

    job: Job | UnreadableJob | WorkloadSubject
    number: int
    """The fence of the turn, the number of the attempt or preparation, or the generation of the job."""
    status: YoloTrainingJobStatus | None = None
    """The new status; None keeps the current one."""
    events: tuple[EventRecord, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Annotations of all these Events."""
    events_first: bool = False
    """True for a decision that no later pass repeats after its status is written: a crash would lose its Events."""


class Applier:
    """Writes statuses and publishes Events. No other class calls `write_status` or `emit`."""

    def __init__(self, jobs: JobStore, events: EventRecorder) -> None:
        self._jobs = jobs
        self._events = events

    async def apply(self, change: Change | None, action: Callable[[], Awaitable[None]] | None = None) -> Outcome:
        """Record a change of a job, if there is one, then take an action: what permits it is on record before it.

        Raise KubeError, except for conflicts and missing objects.
        """
        try:
            if change is not None:
                await self._record(change)
            if action is not None:
                await action()
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            logger.debug("%s: reconciles again", error)
            return Outcome.CONFLICT if error.conflict else Outcome.GONE
        return Outcome.APPLIED

    async def _record(self, change: Change) -> None:
        """Write the status and publish the Events at the same time, or in the order that the change needs.

        The Events of a terminal status follow it: a verdict is published when it is on record.
        """
        job, status = change.job, change.status
        if isinstance(job, WorkloadSubject):
            await self._publish(change)
        elif change.events_first:
            await self._publish(change)
            await self._write(change)
        elif isinstance(job, UnreadableJob) or (status or job.status).phase in TERMINAL_PHASES:
            await self._write(change)
            await self._publish(change)
        else:
            await asyncio.gather(self._write(change), self._publish(change))

    async def publish_resumption(self, job: Job) -> None:
        """Publish that a suspended job waits again, once for each change of its spec; nothing for other jobs."""
        if job.status.phase == Phase.SUSPENDED and not job.spec.suspend:
            resumed = EventRecord(Reason.RESUMED, "spec.suspend is false again; waits for its next turn")
            await self._publish(Change(job, job.generation, events=(resumed,)))

    async def _write(self, change: Change) -> None:
        if isinstance(change.job, UnreadableJob):
            await self._jobs.report_unreadable(change.job)
        elif isinstance(change.job, Job) and change.status is not None:
            await self._jobs.write_status(change.job, change.status)
            _count(change.job, change.status)

    async def _publish(self, change: Change) -> None:
        """Publish all Events at once; their timestamps and names keep the order."""
        job, emit, facts = change.job, self._events.emit, change.facts
        represents = job.represents if isinstance(job, WorkloadSubject) else None
        await asyncio.gather(
            *(emit(job.key, job.resource_version, change.number, each, facts, represents) for each in change.events)
        )


def _count(job: Job, status: YoloTrainingJobStatus) -> None:
    """Count what a written status says for the first time: attempts that ended, and the end of the job."""
    recorded = {(attempt.number, attempt.fence) for attempt in job.status.attempts}
    for attempt in status.attempts:
        if attempt.start_time is not None and (attempt.number, attempt.fence) not in recorded:
            ran = (parse_time(attempt.completion_time) - parse_time(attempt.start_time)).total_seconds()
            metrics.TRAINING_SECONDS.labels(job.key.namespace, attempt.gpu or "").inc(max(0.0, ran))
    if status.phase in TERMINAL_PHASES and job.status.phase not in TERMINAL_PHASES:
        reason = next((each.reason for each in status.conditions if each.status == "True"), "")
        metrics.JOBS_FINISHED.labels(job.key.namespace, status.phase, reason).inc()
