"""Tells waiting jobs their place, when their turn is expected, and what they wait for: in order, and not too often."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gpu_relay.api.words import Reason
from gpu_relay.domain import status
from gpu_relay.domain.estimate import estimated_starts, has_trained, typical_duration
from gpu_relay.domain.model import Policy, uid_of_holder
from gpu_relay.domain.news import AGAIN_AFTER, MOVES_APART, has_moved, is_news, outdated
from gpu_relay.domain.queue import Candidate, Placement
from gpu_relay.effects import clock
from gpu_relay.effects.jobs import JobStore
from gpu_relay.effects.kube import KubeError
from gpu_relay.engine.cache import Cache

_AT_ONCE = 200
"""Jobs told in one look; the first of the queue first."""
_IN_FLIGHT = 4
"""Of these at the same time: a hand-over's calls are not to stand in line behind a whole queue's."""
_RETRY = 1.0


@dataclass(frozen=True)
class _Told:
    """What this process told a job last: to which version, and when (monotonic, seconds)."""

    version: str
    at: float


class Prospects:
    """What waiting jobs may expect."""

    def __init__(
        self,
        cache: Cache,
        jobs: JobStore,
        policy: Policy,
        queue: Callable[[], Awaitable[tuple[list[Placement], list[Candidate]]]],
    ) -> None:
        """`queue` returns the waiting jobs, in order, and the GPUs that there are."""
        self._cache = cache
        self._jobs = jobs
        self._policy = policy
        self._queue = queue
        self._trained = cache.jobs.part(has_trained)
        self._told: dict[str, _Told] = {}
        """By UID; lost without harm."""
        self._moved_at = -MOVES_APART
        """When a job was last told that it has moved, and nothing else (monotonic, seconds)."""

    async def look(self) -> float | None:
        """Tell those that there is something to tell; return the seconds until the next look, None for a change."""
        placements, candidates = await self._queue()
        waiting = [_as_told(each, candidates) for each in placements if each.gpu is None]
        now = clock.now()
        starts = self._starts(placements, candidates, now)
        uids = {each.job.key.uid for each in waiting}
        self._told = {uid: told for uid, told in self._told.items() if uid in uids}
        news, later = self._sort(waiting, starts)
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def tell(placement: Placement) -> bool:
            async with gate:
                return await self._tell(placement, starts.get(placement.job.key.uid), now)

        all_told = all(await asyncio.gather(*map(tell, news[:_AT_ONCE])))
        if len(news) > _AT_ONCE:
            return 0
        return later if all_told else min(later or _RETRY, _RETRY)

    def _starts(self, placements: list[Placement], candidates: list[Candidate], now: datetime) -> dict[str, str]:
        holders = {each.lease.holder for each in candidates if each.lease is not None}
        owners = {holder: self._cache.jobs.get(uid_of_holder(holder)) for holder in holders}
        known = {holder: job for holder, job in owners.items() if job is not None}
        typical = typical_duration(self._trained.values())
        return estimated_starts(placements, candidates, known, typical, now, self._policy)

    def _sort(self, waiting: list[Placement], starts: dict[str, str]) -> tuple[list[Placement], float | None]:
        """Return what is to be told now, and the seconds until what has to wait may be told."""
        news, moved, pauses, now = list[Placement](), list[Placement](), list[float](), time.monotonic()
        for placement in waiting:
            uid = placement.job.key.uid
            start, told = starts.get(uid), self._told.get(uid)
            age = now - told.at if told is not None else AGAIN_AFTER
            if told is not None and told.version == placement.job.resource_version and age < AGAIN_AFTER:
                continue  # what it was told is on its way into the cache
            if is_news(placement, start):
                news.append(placement)
            elif has_moved(placement, start):
                if age >= AGAIN_AFTER:
                    moved.append(placement)
                else:
                    pauses.append(AGAIN_AFTER - age)
        if moved and now - self._moved_at >= MOVES_APART:
            self._moved_at = now
            worst = max(moved, key=outdated)
            news.append(worst)
            moved.remove(worst)
        if moved:
            pauses.append(self._moved_at + MOVES_APART - now)
        return news, min(pauses, default=None)

    async def _tell(self, placement: Placement, start: str | None, now: datetime) -> bool:
        """Write a job's prospects; False where it has changed meanwhile and is to be looked at again."""
        job = placement.job
        known = self._cache.jobs.get(job.key.uid)
        if known is None or known.resource_version != job.resource_version:
            return False
        new = status.queued(job, now, placement.position, start, placement.reason, placement.message)
        try:
            await self._jobs.write_status(job, new)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            return error.not_found
        self._told[job.key.uid] = _Told(job.resource_version, time.monotonic())
        return True


def _as_told(placement: Placement, candidates: list[Candidate]) -> Placement:
    if candidates or placement.reason != Reason.WAITING_IN_QUEUE:
        return placement
    message = "no resident has said yet which GPU it sits on"
    return replace(placement, reason=Reason.RESIDENT_UNREACHABLE, message=message)
