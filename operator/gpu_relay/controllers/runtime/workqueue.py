"""A work queue of keys: duplicates are merged, a key never runs twice at once, failures back off.

After client-go's workqueue and dask-gateway's.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable

from gpu_relay.observability.metrics import PASS_ERRORS

logger = logging.getLogger(__name__)
Handler = Callable[[str], Awaitable[float | None]]
_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 15.0


class WorkQueue:
    """Runs `handler(key)`; it returns the seconds after which to run again, None to wait for a put."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._runs = False

    def put(self, key: str, delay: float = 0.0) -> None:
        """Run a key after `delay` seconds, or earlier if it is due earlier already."""
        due = asyncio.get_running_loop().time() + delay
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    def overdue(self) -> float:
        """Return how many seconds the oldest due key has been waiting to be started; 0 when none waits.

        A key that runs waits only for itself, even if put again: see `longest_run`. While the queue does not run,
        nothing is overdue.
        """
        if not self._runs:
            return 0.0
        now = asyncio.get_running_loop().time()
        return max((now - due for key, due in self._due.items() if key not in self._running and due < now), default=0.0)

    def longest_run(self) -> float:
        """Return for how many seconds the oldest running key has been running; 0 when none runs."""
        now = asyncio.get_running_loop().time()
        return max((now - started for started in self._started.values()), default=0.0)

    async def run(self) -> None:
        """Run keys as they fall due, until cancelled."""
        self._runs = True
        try:
            while True:
                self._changed.clear()
                await self._wait(self._start_due())
        finally:
            self._runs = False
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start_due(self) -> float | None:
        """Start what is due; return the seconds until the next key is, None when there is none."""
        now = asyncio.get_running_loop().time()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due or key in self._running:
                heapq.heappop(self._heap)  # outdated, or runs now: its end puts it back
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            del self._due[key]
            self._started[key] = now
            self._running[key] = asyncio.create_task(self._work(key), name=key)
        return None

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _work(self, key: str) -> None:
        try:
            requeue_after = await self._handler(key)
            self._failures.pop(key, None)
        except asyncio.CancelledError:
            if not self._runs:
                raise
            requeue_after = self._failed(key)  # no one cancelled it: a library raised it
        except Exception:
            requeue_after = self._failed(key)
        finally:
            del self._running[key], self._started[key]
        if key in self._due:  # put while it ran
            heapq.heappush(self._heap, (self._due[key], key))
        if requeue_after is not None:
            self.put(key, requeue_after)
        self._changed.set()

    def _failed(self, key: str) -> float:
        """Record a failure; return the seconds until the next attempt."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        requeue_after = float(min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2**failures))
        PASS_ERRORS.labels(key.split("/", 1)[0]).inc()
        logger.exception("%s failed; tries again in %.1f s", key, requeue_after)
        return requeue_after
