"""The requests in flight: how many, and when none needs the worker."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator


class Flight:
    """Counts requests between admission and answer. Times in seconds of the monotonic clock.

    `needing` are those that still need the worker: an unload waits for them, not for answers that are being written.
    """

    def __init__(self) -> None:
        self.count = 0
        self.needing = 0
        self._landed = asyncio.Event()
        self._landed.set()
        self._last = time.monotonic()

    @contextlib.contextmanager
    def one(self) -> Iterator[Callable[[], None]]:
        """Count one request for the length of a `with` block; call what it yields once it needs the worker no more."""
        needs = True

        def computed() -> None:
            nonlocal needs
            self.needing -= needs
            needs = False
            if not self.needing:
                self._landed.set()

        self.count += 1
        self.needing += 1
        self._landed.clear()
        try:
            yield computed
        finally:
            computed()
            self.count -= 1
            self._last = time.monotonic()

    def refused(self) -> None:
        """Note a request that was turned away: whoever asks in vain is no sign of idleness."""
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request was done or refused; 0 while one is in flight."""
        return 0.0 if self.count else time.monotonic() - self._last

    async def landed(self, timeout: float) -> int:
        """Wait until none needs the worker, for at most `timeout` seconds; return how many still do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._landed.wait()
        return self.needing
