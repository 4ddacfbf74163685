"""Deletes jobs that have been over for as long as `spec.ttlSecondsAfterFinished` says."""

import logging

from gpu_relay.domain.lifetime import expires_at
from gpu_relay.effects import clock, logs
from gpu_relay.effects.jobs import JobStore
from gpu_relay.engine.cache import Cache

logger = logging.getLogger(__name__)


class Retirement:
    """Looks at the jobs that are over and are not kept for ever."""

    def __init__(self, cache: Cache, jobs: JobStore) -> None:
        self._ended = cache.jobs.part(lambda job: expires_at(job) is not None)
        self._jobs = jobs

    async def look(self) -> float | None:
        """Delete what is due; return the seconds until the next job is, None when there is none."""
        now = clock.now()
        waits: list[float] = []
        for cached in self._ended.values():
            due = expires_at(cached)
            if due is None:
                continue
            if due > now:
                waits.append((due - now).total_seconds())
                continue
            job = await self._jobs.get(cached.key)  # a mistake cannot be undone: the spec of this moment decides
            due = expires_at(job) if job is not None else None
            if job is not None and due is not None and due <= now:
                await self._jobs.delete(job)
                with logs.about(job=str(job.key)):
                    logger.info("was over for %s s and is deleted", job.spec.ttl_seconds_after_finished)
        return min(waits, default=None)
