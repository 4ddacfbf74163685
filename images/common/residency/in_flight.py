"""The requests in flight: how many, and when none needs the worker."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator


class InFlight:
    """Counts requests between admission and answer. Times in seconds of the monotonic clock.

    `needing_worker` counts those that still need the worker: an unload waits for them, not for answers that are being
    written.
    """

    def __init__(self) -> None:
        self.count = 0
        self.needing_worker = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._last = time.monotonic()

    @contextlib.contextmanager
    def track(self) -> Iterator[Callable[[], None]]:
        """Count one request for a `with` block; call the yielded function once it does not need the worker any more."""
        needs_worker = True

        def computed() -> None:
            nonlocal needs_worker
            self.needing_worker -= needs_worker
            needs_worker = False
            if not self.needing_worker:
                self._drained.set()

        self.count += 1
        self.needing_worker += 1
        self._drained.clear()
        try:
            yield computed
        finally:
            computed()
            self.count -= 1
            self._last = time.monotonic()

    def record_refusal(self) -> None:
        """Record a refused request: a server that refuses requests is not idle."""
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request was done or refused; 0 while one is in flight."""
        return 0.0 if self.count else time.monotonic() - self._last

    async def drained(self, timeout: float) -> int:
        """Wait until none needs the worker, for at most `timeout` seconds; return how many still do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._drained.wait()
        return self.needing_worker
