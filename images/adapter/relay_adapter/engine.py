"""An engine in a container of its own: it is unloaded and loaded by the calls of its profile."""

import asyncio
import logging
import time
from collections.abc import Callable

from gpu_memory import GpuUnavailable
from relay_adapter.calls import EngineCalls, EngineError
from residency.errors import EngineStuckError, LoadError
from residency.gpu_measurement import SETTLE_POLL_SECONDS, SETTLE_SECONDS, ReadMemory, free_mib, measure

log = logging.getLogger(__name__)
LOOK_SECONDS = 2.0


class CalledEngine:
    """The kit's engine, by calls. It counts as attached until it has said that it is not.

    `drop_requests` ends the requests that are being forwarded. `load_timeout` is in seconds.
    """

    def __init__(
        self, calls: EngineCalls, read_memory: ReadMemory, drop_requests: Callable[[], None], load_timeout: float
    ) -> None:
        self._calls = calls
        self._read_memory = read_memory
        self._drop_requests = drop_requests
        self._load_timeout = load_timeout
        self._looked_at = float("-inf")
        self._fresh = True
        self._least_used: int | None = None
        self.is_attached = True
        self.allocated_mib = 0

    @property
    def residual_mib(self) -> int:
        """The least GPU memory in MiB that was in use after an unload; 0 before the first one."""
        return self._least_used or 0

    def watch(self, on_exit: Callable[[str], None]) -> None:
        """Take no notice: an engine in another container is seen only when it is called."""

    async def has_loaded(self) -> bool:
        """Ask the engine, at most once in 2 s; without an answer, it counts as unloaded."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        loaded = await self._says_loaded()
        self._looked_at = time.monotonic()
        if loaded:
            self.is_attached, self._fresh = True, False
            if not self.allocated_mib:
                self.allocated_mib = max(0, await self._used_mib() - self.residual_mib)
        return loaded

    async def _says_loaded(self) -> bool:
        profile = self._calls.profile
        if profile.loaded is None:
            return profile.loads_at_start and self._fresh and await self._calls.ready()
        try:
            return await self._calls.is_true(profile.loaded)
        except EngineError as error:
            log.debug("%s", error)
            return False

    async def prepare(self) -> None:
        """Wait until the engine takes requests; raises LoadError."""
        if not await self._calls.wait_until_ready(self._load_timeout):
            raise LoadError(f"the engine does not answer {self._calls.profile.ready.path} yet")

    async def attach(self) -> None:
        """Have it load its model; raises LoadError."""
        before = await free_mib(self._read_memory)
        self.is_attached, self._fresh = True, False
        try:
            await self._calls.load()
        except EngineError as error:
            raise LoadError(str(error)) from error
        after = await free_mib(self._read_memory)
        self.allocated_mib = max(0, before - after) if before is not None and after is not None else 0

    async def end_attached(self, grace: float | None = None) -> None:
        """Have it let go of the GPU; `grace` 0 ends its requests before that. Raises EngineStuckError."""
        if not self.is_attached:
            return
        self._drop_requests()
        try:
            if grace == 0:
                await self._calls.abort()
            await self._calls.unload()
        except EngineError as error:
            raise EngineStuckError(f"the engine was not unloaded: {error}") from error
        self.is_attached, self._fresh, self.allocated_mib = False, False, 0
        await self._measure_residual()

    async def _measure_residual(self) -> None:
        """Measure what is in use until it stays the same. The least of all unloads counts: others use the GPU, too."""
        used = await self._used_mib()
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(SETTLE_POLL_SECONDS)
            before, used = used, await self._used_mib()
            if used == before:
                break
        self._least_used = used if self._least_used is None else min(used, self._least_used)

    async def _used_mib(self) -> int:
        try:
            return (await measure(self._read_memory)).used_mib
        except GpuUnavailable:
            return 0
