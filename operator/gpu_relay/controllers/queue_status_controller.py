"""Tells waiting jobs their place, when their turn is expected, and what they wait for: in order, and not too often."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.clients.clock import Clock
from gpu_relay.controllers.apply import Applier, Change, Outcome
from gpu_relay.controllers.runtime.isolation import Isolation, soonest
from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.job import status
from gpu_relay.domain.objects.job import uid_of_holder
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

_AT_ONCE = 200
"""Jobs told in one look; the first of the queue first."""
_IN_FLIGHT = 4
"""Of these at the same time: a hand-over's calls are not to stand in line behind a whole queue's."""
_RETRY = 1.0
_STARTS = "estimated starts"
"""They are computed from all jobs at once; where that fails, jobs are still told their places."""


@dataclass(frozen=True)
class _Published:
    """What this process told a job last: to which version, and when (monotonic, seconds)."""

    version: str
    at: float


class QueueStatusController:
    """What waiting jobs may expect."""

    def __init__(
        self,
        cache: Cache,
        applier: Applier,
        clock: Clock,
        policy: Policy,
        queue: Callable[[], Awaitable[tuple[list[Placement], list[Candidate]]]],
    ) -> None:
        """`queue` returns the waiting jobs, in order, and the GPUs that there are."""
        self._cache = cache
        self._applier = applier
        self._clock = clock
        self._policy = policy
        self._queue = queue
        self._trained = cache.jobs.part(has_trained)
        self._published: dict[str, _Published] = {}
        """By UID; lost without harm."""
        self._isolation = Isolation("prospects", clock.monotonic)
        self._moved_at = -MIN_UPDATE_INTERVAL
        """When a job was last told that it has moved, and nothing else (monotonic, seconds)."""

    async def reconcile(self) -> float | None:
        """Tell those that there is something to tell; return the seconds until the next look, None for a change."""
        placements, candidates = await self._queue()
        waiting = [each for each in placements if each.gpu is None and not self._isolation.defers(each.job.key.uid)]
        now, starts = self._clock.now(), dict[str, str]()
        if not self._isolation.defers(_STARTS):
            with self._isolation.guard(_STARTS, _STARTS):
                starts = self._starts(placements, candidates, now)
        uids = {each.job.key.uid for each in waiting}
        self._published = {uid: published for uid, published in self._published.items() if uid in uids}
        news, later = self._sort(waiting, starts)
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def tell(placement: Placement) -> bool:
            async with gate:
                return await self._publish_alone(placement, starts.get(placement.job.key.uid), now)

        all_told = all(await asyncio.gather(*map(tell, news[:_AT_ONCE])))
        if len(news) > _AT_ONCE:
            return 0
        return soonest(later, None if all_told else _RETRY, self._isolation.requeue_after())

    async def _publish_alone(self, placement: Placement, start: str | None, now: datetime) -> bool:
        """Write a job's prospects; an error about it delays it alone."""
        job = placement.job
        with self._isolation.guard(job.key.uid, str(job.key)):
            return await self._publish(placement, start, now)
        return True  # it is tried again when its back-off ends

    def _starts(self, placements: list[Placement], candidates: list[Candidate], now: datetime) -> dict[str, str]:
        holders = {each.lease.holder for each in candidates if each.lease is not None}
        owners = {holder: self._cache.jobs.get(uid_of_holder(holder)) for holder in holders}
        known = {holder: job for holder, job in owners.items() if job is not None}
        lengths = Lengths(self._trained.values())
        return estimated_starts(placements, candidates, known, lengths, now, self._policy)

    def _sort(self, waiting: list[Placement], starts: dict[str, str]) -> tuple[list[Placement], float | None]:
        """Return what is to be told now, and the seconds until what has to wait may be told."""
        news, moved, pauses, now = list[Placement](), list[Placement](), list[float](), self._clock.monotonic()
        for placement in waiting:
            uid = placement.job.key.uid
            start, published = starts.get(uid), self._published.get(uid)
            age = now - published.at if published is not None else AGAIN_AFTER
            if published is not None and published.version == placement.job.resource_version and age < AGAIN_AFTER:
                continue  # what it was told is on its way into the cache
            if needs_immediate_update(placement, start):
                news.append(placement)
            elif needs_update(placement, start):
                if age >= AGAIN_AFTER:
                    moved.append(placement)
                else:
                    pauses.append(AGAIN_AFTER - age)
        if moved and now - self._moved_at >= MIN_UPDATE_INTERVAL:
            self._moved_at = now
            worst = max(moved, key=position_error)
            news.append(worst)
            moved.remove(worst)
        if moved:
            pauses.append(self._moved_at + MIN_UPDATE_INTERVAL - now)
        return news, min(pauses, default=None)

    async def _publish(self, placement: Placement, start: str | None, now: datetime) -> bool:
        """Write a job's prospects; False where it has changed meanwhile and is to be looked at again."""
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
