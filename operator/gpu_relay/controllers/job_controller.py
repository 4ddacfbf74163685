"""Jobs outside any turn: their statuses and Events, and what follows from their spec by itself."""

from datetime import datetime

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.clients import clock
from gpu_relay.clients.events import EventRecorder
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import verdict
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.placement import is_at_rest, is_left_over


class JobReports:
    """Writes statuses and Events of jobs that have no turn, from the cache's view of them."""

    def __init__(self, jobs: JobStore, events: EventRecorder) -> None:
        self._jobs = jobs
        self._events = events
        self.overtaken = False
        """True where a status could not be written since its job had changed meanwhile."""

    async def write(self, job: Job, new: YoloTrainingJobStatus) -> bool:
        """Write a status; False where a newer view of the job is on its way. Raises KubeError."""
        try:
            await self._jobs.write_status(job, new)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            self.overtaken |= error.conflict
            return False
        return True

    async def emit(self, job: Job, notice: EventRecord) -> None:
        """Emit an Event that belongs to no turn: once for each change of the spec."""
        await self._events.emit(job.key, job.resource_version, job.generation, notice)

    async def fail(self, job: Job, now: datetime, reason: Reason, message: str) -> None:
        """End a job that will not have a turn."""
        await self.write(job, status.failed(job, now, reason, message))
        await self.emit(job, EventRecord(reason, message, warning=True))


class JobController:
    """Finishes what no turn concerns: jobs suspended before one, or after one without a resident; jobs at rest."""

    def __init__(self, cache: Cache, reports: JobReports, isolation: Isolation) -> None:
        self._jobs = cache.jobs.part(is_left_over)
        self._reports = reports
        self._isolation = isolation

    async def settle(self, involved: frozenset[str]) -> None:
        """Go through them; those with these UIDs are still involved in a turn."""
        now = clock.now()
        for job in self._jobs.values():
            if job.key.uid in involved or self._isolation.defers(job.key.uid):
                continue
            with self._isolation.guard(job.key.uid, str(job.key)):
                await self._settle(job, now)

    async def _settle(self, job: Job, now: datetime) -> None:
        if job.status.phase == Phase.RELEASING:
            fact: status.Fact = ("Unknown", Reason.NO_RESIDENT, "the turn had no resident to hand back to")
            judged = verdict(job, now)
            written = await self._reports.write(job, status.settled(job, now, judged, fact))
            if written and judged.phase != Phase.QUEUED:
                failed = judged.phase == Phase.FAILED
                await self._reports.emit(job, EventRecord(judged.reason, judged.message, warning=failed))
        elif is_at_rest(job):
            await self._reports.write(job, status.observed(job))
        elif await self._reports.write(job, status.suspended(job, now)):
            await self._reports.emit(job, EventRecord(Reason.SUSPENDED, "suspended before its turn; owns no GPU"))
