"""What is kept in host memory while the GPU is lent out: the standby, and the worker that answers from the CPU."""

import asyncio
import logging

from sam3_server.residency.cpu_fallback import CpuFallback
from sam3_server.residency.host_memory import HostBudget
from sam3_server.residency.worker_pool import Workers

log = logging.getLogger(__name__)


class Standby:
    """Starts and ends those processes; neither is started where it would leave the host short of memory."""

    def __init__(self, workers: Workers, wanted: bool, fallback: CpuFallback | None, host: HostBudget) -> None:
        self.fallback = fallback
        self._workers = workers
        self._wanted = wanted
        self._host = host
        self._told = False

    async def begin(self) -> None:
        """Prepare a standby for the turn that begins."""
        self._told = False
        if not self._wanted:
            await self._workers.end_spare()
        elif self._workers.spare in ("none", "lost") and await self._fits():
            self._workers.prepare()

    async def tend(self) -> None:
        """During a turn, start what there was no memory for before. A standby that failed is left alone."""
        if self._wanted and self._workers.spare == "none" and await self._fits():
            self._workers.prepare()
        fallback = self.fallback
        if fallback is None or fallback.offered or self._workers.spare == "pending":
            return
        if await self._fits():
            fallback.begin()

    async def _fits(self) -> bool:
        fits = await asyncio.to_thread(self._host.allows)
        if not fits and not self._told:
            self._told = True
            log.warning(await asyncio.to_thread(self._host.refusal))
        return fits
