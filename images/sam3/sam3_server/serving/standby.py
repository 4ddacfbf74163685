"""Host memory while the GPU is lent out: the standby, and the worker that answers from the CPU."""

import asyncio
import logging

from sam3_server.serving.cpu_fallback import CpuFallback
from sam3_server.serving.host_memory import HostBudget
from sam3_server.serving.worker_pool import WorkerPool

log = logging.getLogger(__name__)


class StandbyManager:
    """Starts and ends those processes; neither is started if the host would run short of memory."""

    def __init__(self, pool: WorkerPool, enabled: bool, fallback: CpuFallback | None, host: HostBudget) -> None:
        self.fallback = fallback
        self._pool = pool
        self._enabled = enabled
        self._host = host
        self._shortage_logged = False

    async def start(self) -> None:
        """Prepare a standby after an unload, for the load that follows it."""
        self._shortage_logged = False
        if not self._enabled:
            await self._pool.end_standby()
        elif self._pool.standby in ("none", "lost") and await self._fits():
            self._pool.prepare_standby()

    async def reconcile(self) -> None:
        """Start what the host had no memory for before. A standby that failed is not started again."""
        if self._enabled and self._pool.standby == "none" and await self._fits():
            self._pool.prepare_standby()
        fallback = self.fallback
        if fallback is None or fallback.offered or self._pool.standby == "pending":
            return
        if await self._fits():
            fallback.start()

    async def end_turn(self) -> None:
        """Answer from the GPU again: the worker on the CPU ends once no request needs it."""
        if self.fallback is not None:
            await self.fallback.end_when_idle()

    async def drop(self) -> None:
        """End the standby."""
        await self._pool.end_standby()

    async def close(self) -> None:
        """End the worker on the CPU."""
        if self.fallback is not None:
            await self.fallback.end()

    async def _fits(self) -> bool:
        fits = await asyncio.to_thread(self._host.allows)
        if not fits and not self._shortage_logged:
            self._shortage_logged = True
            log.warning(await asyncio.to_thread(self._host.shortage))
        return fits
