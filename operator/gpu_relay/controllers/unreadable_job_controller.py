"""Report which field of a job cannot be read, and remove the report when it can be read again."""

from gpu_relay.api.words import ConditionType, Reason
from gpu_relay.controllers.apply import Applier, Change
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.objects.job import Job, UnreadableJob


class UnreadableJobController:
    """Keeps the condition Unreadable of jobs; nothing else of an unreadable job is written."""

    def __init__(self, cache: Cache, effects: Effects) -> None:
        self._unreported = cache.unreadable.part(lambda job: not job.is_reported)
        self._readable_again = cache.jobs.part(_says_unreadable)
        self._jobs = effects.jobs
        self._applier = Applier(effects.jobs, effects.events)
        self._isolation = Isolation("unreadable", effects.clock.monotonic)

    async def reconcile(self) -> float | None:
        """Write what has changed; return the seconds until the next pass, None to wait for a change."""
        jobs: list[UnreadableJob | Job] = [*self._unreported.values(), *self._readable_again.values()]
        for job in jobs:
            if self._isolation.defers(job.key.uid):
                continue
            with self._isolation.guard(job.key.uid, str(job.key)):
                await self._report(job)
        return self._isolation.requeue_after()

    async def _report(self, job: UnreadableJob | Job) -> None:
        if isinstance(job, UnreadableJob):
            unreadable = EventRecord(Reason.UNREADABLE, job.problem, warning=True)
            await self._applier.apply(Change(job, job.generation, events=(unreadable,)))
        else:
            await self._applier.apply(Change(job, job.generation), lambda: self._jobs.report_readable(job))


def _says_unreadable(job: Job) -> bool:
    return any(condition.type == ConditionType.UNREADABLE for condition in job.status.conditions)
