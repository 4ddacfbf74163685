"""Jobs outside any turn: what follows from their spec or from their last turn."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from gpu_relay.api.words import Phase, Reason
from gpu_relay.controllers.apply import Change, Outcome
from gpu_relay.controllers.runtime.isolation import Isolation
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.job import status
from gpu_relay.domain.job.attempts import verdict
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.queue.placement import is_at_rest, is_left_over


class JobController:
    """Settles jobs that no turn concerns: suspended before a turn, or after one without a resident; jobs at rest."""

    def __init__(self, cache: Cache, apply: Callable[[Change], Awaitable[Outcome]], isolation: Isolation) -> None:
        self._jobs = cache.jobs.part(is_left_over)
        self._apply = apply
        self._isolation = isolation

    async def settle(self, involved: frozenset[str], now: datetime) -> None:
        """Settle each of them, except those that a turn still involves, given by UID."""
        for job in self._jobs.values():
            if job.key.uid in involved or self._isolation.defers(job.key.uid):
                continue
            with self._isolation.guard(job.key.uid, str(job.key)):
                await self._apply(_settlement(job, now))


def _settlement(job: Job, now: datetime) -> Change:
    if job.status.phase == Phase.RELEASING:
        fact: status.Fact = ("Unknown", Reason.NO_RESIDENT, "the turn had no resident to hand back to")
        judged = verdict(job, now)
        event = EventRecord(judged.reason, judged.message, warning=judged.phase == Phase.FAILED)
        events = () if judged.phase == Phase.QUEUED else (event,)
        return Change(job, job.generation, status.settled(job, now, judged, fact), events)
    if is_at_rest(job):
        return Change(job, job.generation, status.observed(job))
    suspended = EventRecord(Reason.SUSPENDED, "suspended before its turn; owns no GPU")
    return Change(job, job.generation, status.suspended(job, now), (suspended,))
