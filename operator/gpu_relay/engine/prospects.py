"""Tells waiting jobs their place, when their turn is expected, and what they wait for: in order, and not too often."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gpu_relay.api.words import Reason
from gpu_relay.domain import status
from gpu_relay.domain.estimate import estimated_starts
from gpu_relay.domain.model import Policy
from gpu_relay.domain.news import AGAIN_AFTER, has_moved, is_news
from gpu_relay.domain.queue import Candidate, Placement
from gpu_relay.effects import clock
from gpu_relay.effects.jobs import JobStore
from gpu_relay.effects.kube import KubeError
from gpu_relay.engine.cache import Cache

_AT_ONCE = 200
"""Jobs told in one look; the first of the queue first."""
_IN_FLIGHT = 4
"""Of these at the same time: a hand-over's calls are not to stand in line behind a whole queue's."""


@dataclass
class Prospects:
    """What waiting jobs may expect. `queue` returns what the last dispatch decided, and the GPUs that it knew."""

    cache: Cache
    jobs: JobStore
    policy: Policy
    queue: Callable[[], tuple[list[Placement], list[Candidate]]]
    told: dict[str, float] = field(default_factory=dict)
    """When this process last told a job something, by UID; lost without harm."""

    async def look(self) -> float | None:
        """Tell those that there is something to tell; return the seconds until the next look, None for a change."""
        placements, candidates = self.queue()
        waiting = [_as_told(each, candidates) for each in placements if each.gpu is None]
        now = clock.now()
        starts = estimated_starts(placements, candidates, self.cache.jobs.values(), now, self.policy)
        uids = {each.job.key.uid for each in waiting}
        self.told = {uid: at for uid, at in self.told.items() if uid in uids}
        news, later = self._sort(waiting, starts)
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def tell(placement: Placement) -> None:
            async with gate:
                await self._tell(placement, starts.get(placement.job.key.uid), now)

        await asyncio.gather(*map(tell, news[:_AT_ONCE]))
        return 0 if len(news) > _AT_ONCE else later

    def _sort(self, waiting: list[Placement], starts: dict[str, str]) -> tuple[list[Placement], float | None]:
        """Return what is to be told now, and the seconds until what was told too recently may be told again."""
        news, later, now = [], None, time.monotonic()
        for placement in waiting:
            uid = placement.job.key.uid
            start, rest = starts.get(uid), self.told.get(uid, 0.0) + AGAIN_AFTER - now
            if is_news(placement, start):
                news.append(placement)
            elif has_moved(placement, start):
                if rest <= 0:
                    news.append(placement)
                else:
                    later = rest if later is None else min(later, rest)
        return news, later

    async def _tell(self, placement: Placement, start: str | None, now: datetime) -> None:
        job = placement.job
        known = self.cache.jobs.get(job.key.uid)
        if known is None or known.resource_version != job.resource_version:
            return  # another look follows the change
        self.told[job.key.uid] = time.monotonic()
        new = status.queued(job, now, placement.position, start, placement.reason, placement.message)
        try:
            await self.jobs.write_status(job, new)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise


def _as_told(placement: Placement, candidates: list[Candidate]) -> Placement:
    if candidates or placement.reason != Reason.WAITING_IN_QUEUE:
        return placement
    message = "no resident has said yet which GPU it sits on"
    return replace(placement, reason=Reason.RESIDENT_UNREACHABLE, message=message)
