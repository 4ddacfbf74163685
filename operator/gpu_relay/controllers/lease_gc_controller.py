"""Delete the Leases of GPUs that no longer exist: replaced nodes, replaced cards."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.controllers.usage_archiver import UsageArchiver
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.quantities import parse_time, timestamp

logger = logging.getLogger(__name__)
_KEPT_FOR = timedelta(days=1)


class LeaseGCController:
    """Records in a Lease since when no resident has reported its GPU, and deletes it after a day.

    A pending reload is kept until then: the GPU may return.
    """

    def __init__(self, effects: Effects, usage_days: int) -> None:
        """`usage_days` is for how many days the usage of each GPU is kept."""
        self._do = effects
        self._archiver = UsageArchiver(effects, usage_days)

    async def collect(self, leases: list[GpuLease]) -> None:
        """Archive the usage of all GPUs, and collect the Leases of those that no job owns; raise KubeError."""
        await self._archiver.archive(leases)
        await self._do.directory.known_gpus(lambda _: False)
        if self._do.directory.unknown_pods():
            return  # what does not answer may be on any GPU (law 10)
        reported, now = {known.gpu for known in self._do.directory.reported()}, self._do.clock.now()
        for lease in leases:
            if lease.holder != HOLDER_RESIDENT or lease.gpu == UNMANAGED_GPU:
                continue
            try:
                await self._update(lease, is_reported=lease.gpu in reported, now=now)
            except KubeError as error:
                if not error.conflict:
                    raise

    async def _update(self, lease: GpuLease, *, is_reported: bool, now: datetime) -> None:
        if is_reported:
            if lease.missing_since is not None:
                await self._do.leases.rewrite(replace(lease, missing_since=None), now)
        elif lease.missing_since is None:
            await self._do.leases.rewrite(replace(lease, missing_since=timestamp(now)), now)
        elif now >= parse_time(lease.missing_since) + _KEPT_FOR:
            logger.info(
                "GPU %s: no resident has reported it since %s; deletes its Lease", lease.gpu, lease.missing_since
            )
            await self._do.leases.delete(lease)
