"""Keep the usage of GPUs for longer than their Leases do: once in each resync, and before a Lease is deleted."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.usage import day_of
from gpu_relay.observability.metrics import count_gpu_seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UsageArchiver:
    """Copies what the Leases have counted to the archive, and then removes the days that have ended from the Leases."""

    effects: Effects
    kept_days: int

    async def archive(self, leases: Iterable[GpuLease]) -> None:
        """Archive the usage of all GPUs. An error of one GPU is logged, and it is tried again next time."""
        now = self.effects.clock.now()
        for lease in leases:
            count_gpu_seconds(lease, now)
            try:
                await self._archive(lease, now)
            except KubeError as error:
                if not error.conflict:  # the Lease has just changed hands
                    logger.warning("the usage of GPU %s is not archived: %s", lease.gpu, error)

    async def _archive(self, lease: GpuLease, now: datetime) -> None:
        usage, today = lease.usage_at(now), day_of(now)
        await self.effects.usage.write(lease, usage, day_of(now - timedelta(days=self.kept_days)))
        current = usage.since(today)
        if current.days != usage.days:
            await self.effects.leases.rewrite(replace(lease, usage_record=current.written()), now)
