"""Delete finished jobs after `spec.ttlSecondsAfterFinished`."""

import logging
from datetime import datetime
from itertools import chain

from gpu_relay.clients.clock import Clock
from gpu_relay.clients.jobs import JobStore
from gpu_relay.controllers.runtime.isolation import Isolation, soonest
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.job.deadlines import expires_at
from gpu_relay.domain.objects.job import Job
from gpu_relay.observability import logs

logger = logging.getLogger(__name__)


class TTLController:
    """Reconciles the finished jobs that have a time to live."""

    def __init__(self, cache: Cache, jobs: JobStore, clock: Clock) -> None:
        self._clock = clock
        self._ended = [store.part(lambda job: expires_at(job) is not None) for store in (cache.jobs, cache.delegated)]
        self._jobs = jobs
        self._isolation = Isolation("finished", clock.monotonic)

    async def reconcile(self) -> float | None:
        """Delete what is due; return the seconds until the next job is due, None if there is none."""
        now = self._clock.now()
        waits: list[float] = []
        for cached in chain.from_iterable(part.values() for part in self._ended):
            due = expires_at(cached)
            if due is None:
                continue
            if due > now:
                waits.append((due - now).total_seconds())
            elif not self._isolation.defers(cached.key.uid):
                with self._isolation.guard(cached.key.uid, str(cached.key)):
                    await self._delete(cached, now)
        return soonest(*waits, self._isolation.requeue_after())

    async def _delete(self, cached: Job, now: datetime) -> None:
        job = await self._jobs.get(cached.key)  # a deletion cannot be undone, so the current spec decides
        due = expires_at(job) if job is not None else None
        if job is not None and due is not None and due <= now:
            await self._jobs.delete(job)
            with logs.about(job=str(job.key)):
                logger.info("deleted %s s after it has finished", job.spec.ttl_seconds_after_finished)
