"""The requests in flight: how many, and when there are none."""

import asyncio
import contextlib
import time
from collections.abc import Iterator


class Flight:
    """Counts requests between admission and answer. Times in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.count = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._last = time.monotonic()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count one request for the length of a `with` block."""
        self.count += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.count -= 1
            self._last = time.monotonic()
            if not self.count:
                self._empty.set()

    def refused(self) -> None:
        """Note a request that was turned away: whoever asks in vain is no sign of idleness."""
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request was done or refused; 0 while one is in flight."""
        return 0.0 if self.count else time.monotonic() - self._last

    async def landed(self, timeout: float) -> int:
        """Wait until none is in flight, for at most `timeout` seconds; return how many are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), timeout)
        return self.count
