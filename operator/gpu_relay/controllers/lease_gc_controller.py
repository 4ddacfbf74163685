"""Removes the Leases of GPUs that are gone for good: replaced nodes, replaced cards."""

import logging
from datetime import datetime, timedelta

from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.turn_actions import Effects
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.quantities import parse_time, timestamp

logger = logging.getLogger(__name__)
_KEPT_FOR = timedelta(days=1)


class LeaseGCController:
    """Notes in a Lease since when no resident has reported its GPU, and deletes it after a day.

    A reload that is owed is kept until then: the GPU may come back.
    """

    def __init__(self, effects: Effects) -> None:
        self._do = effects

    async def collect(self, leases: list[GpuLease]) -> None:
        """Go through the Leases of GPUs that no job owns; raises KubeError."""
        await self._do.directory.known_gpus(lambda _: False)
        if self._do.directory.unknown_pods():
            return  # what does not answer may be on any GPU (law 10)
        reported, now = {known.gpu for known in self._do.directory.reported()}, self._do.clock.now()
        for lease in leases:
            if lease.holder != HOLDER_RESIDENT or lease.gpu == UNMANAGED_GPU:
                continue
            try:
                await self._judge(lease, is_there=lease.gpu in reported, now=now)
            except KubeError as error:
                if not error.conflict:
                    raise

    async def _judge(self, lease: GpuLease, *, is_there: bool, now: datetime) -> None:
        if is_there:
            if lease.missing_since is not None:
                await self._do.leases.note_missing(lease, None)
        elif lease.missing_since is None:
            await self._do.leases.note_missing(lease, timestamp(now))
        elif now >= parse_time(lease.missing_since) + _KEPT_FOR:
            logger.info("GPU %s: no resident has reported it since %s; its Lease goes", lease.gpu, lease.missing_since)
            await self._do.leases.delete(lease)
