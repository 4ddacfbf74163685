"""Write the position, the estimated start and the reason to wait of waiting jobs, at a limited rate."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.clients.clock import Clock
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.runtime.isolation import Isolation, soonest
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.job import status
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import uid_of_holder
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.estimate import estimated_starts
from gpu_relay.domain.queue.placement import Placement
from gpu_relay.domain.queue.run_lengths import Lengths, has_trained
from gpu_relay.domain.queue.status_throttle import (
    AGAIN_AFTER,
    MIN_UPDATE_INTERVAL,
    needs_immediate_update,
    needs_update,
    position_error,
)

_MOST_WRITES = 200
"""Jobs written in one pass; the first of the queue first."""
_IN_FLIGHT = 4
"""Of these in parallel, so that the calls of a handover do not wait for a whole queue's."""
_RETRY = 1.0
_STARTS = "estimated starts"
"""They are computed from all jobs together; if that fails, positions are still written."""


@dataclass(frozen=True)
class _Published:
    """The last write of this process for a job: on which version, and when (monotonic, seconds)."""

    version: str
    at: float


class QueueStatusController:
    """Keeps the status of waiting jobs current."""

    def __init__(
        self,
        cache: Cache,
        applier: Applier,
        clock: Clock,
        policy: Policy,
        queue: Callable[[], Awaitable[tuple[list[Placement], list[Candidate]]]],
    ) -> None:
        """`queue` returns the waiting jobs, in order, and the known GPUs."""
        self._cache = cache
        self._applier = applier
        self._clock = clock
        self._policy = policy
        self._queue = queue
        self._trained = cache.jobs.part(has_trained)
        self._published: dict[str, _Published] = {}
        """By UID; its loss does no harm."""
        self._isolation = Isolation("prospects", clock.monotonic)
        self._moved_at = -MIN_UPDATE_INTERVAL
        """When a status was last written for its position alone (monotonic, seconds)."""

    async def reconcile(self) -> float | None:
        """Write what has changed; return the seconds until the next pass, None to wait for a change."""
        claims, candidates = await self._queue()
        placements = [each for each in claims if isinstance(each.claim, Job)]
        waiting = [each for each in placements if each.gpu is None and not self._isolation.defers(each.job.key.uid)]
        now, starts = self._clock.now(), dict[str, str]()
        if not self._isolation.defers(_STARTS):
            with self._isolation.guard(_STARTS, _STARTS):
                starts = self._starts(placements, candidates, now)
        uids = {each.job.key.uid for each in waiting}
        self._published = {uid: published for uid, published in self._published.items() if uid in uids}
        due, later = self._sort(waiting, starts)
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def publish(placement: Placement) -> bool:
            async with gate:
                return await self._publish_alone(placement, starts.get(placement.job.key.uid), now)

        all_written = all(await asyncio.gather(*map(publish, due[:_MOST_WRITES])))
        if len(due) > _MOST_WRITES:
            return 0
        return soonest(later, None if all_written else _RETRY, self._isolation.requeue_after())

    async def _publish_alone(self, placement: Placement, start: str | None, now: datetime) -> bool:
        """Write a job's position; an error about it delays only this job."""
        job = placement.job
        with self._isolation.guard(job.key.uid, str(job.key)):
            return await self._publish(placement, start, now)
        return True  # retried when its back-off ends

    def _starts(self, placements: list[Placement], candidates: list[Candidate], now: datetime) -> dict[str, str]:
        holders = {each.lease.holder for each in candidates if each.lease is not None}
        owners = {holder: self._cache.jobs.get(uid_of_holder(holder)) for holder in holders}
        known = {holder: job for holder, job in owners.items() if job is not None}
        lengths = Lengths(self._trained.values())
        return estimated_starts(placements, candidates, known, lengths, now, self._policy)

    def _sort(self, waiting: list[Placement], starts: dict[str, str]) -> tuple[list[Placement], float | None]:
        """Return what to write now, and the seconds until the rest may be written."""
        due, moved, pauses, now = list[Placement](), list[Placement](), list[float](), self._clock.monotonic()
        for placement in waiting:
            uid = placement.job.key.uid
            start, published = starts.get(uid), self._published.get(uid)
            age = now - published.at if published is not None else AGAIN_AFTER
            if published is not None and published.version == placement.job.resource_version and age < AGAIN_AFTER:
                continue  # the written status is not in the cache yet
            if needs_immediate_update(placement, start):
                due.append(placement)
            elif needs_update(placement, start):
                if age >= AGAIN_AFTER:
                    moved.append(placement)
                else:
                    pauses.append(AGAIN_AFTER - age)
        if moved and now - self._moved_at >= MIN_UPDATE_INTERVAL:
            self._moved_at = now
            worst = max(moved, key=position_error)
            due.append(worst)
            moved.remove(worst)
        if moved:
            pauses.append(self._moved_at + MIN_UPDATE_INTERVAL - now)
        return due, min(pauses, default=None)

    async def _publish(self, placement: Placement, start: str | None, now: datetime) -> bool:
        """Write a job's position; False if the job has changed meanwhile, to retry."""
        job = placement.job
        known = self._cache.jobs.get(job.key.uid)
        if known is None or known.resource_version != job.resource_version:
            return False
        new = status.queued(job, now, placement.position, start, placement.reason, placement.message)
        outcome = await self._applier.apply(Change(job, job.generation, new))
        if outcome is Outcome.CONFLICT:
            return False
        self._published[job.key.uid] = _Published(job.resource_version, self._clock.monotonic())
        return True
