"""A fair queue for a limited resource: first in, first out within a client, in rotation between clients."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class FairQueue:
    """Lends `capacity` units, at most `per_client` of them to one client at a time.

    What a client returns goes to another client first: a new client waits for at most one further request of each
    other. One client cannot lock others out while `per_client` is less than `capacity`. Small requests cannot
    overtake a large one indefinitely: no client is served before the one whose turn it is, unless that one has its
    share already.
    """

    def __init__(self, capacity: int, per_client: int) -> None:
        self._free = capacity
        self._per_client = per_client
        self._lent: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    def waiting(self, client: str) -> int:
        """Return how many requests of a client wait."""
        return len(self._waiting.get(client, ()))

    @contextlib.asynccontextmanager
    async def turn(self, client: str, size: int = 1) -> AsyncIterator[None]:
        """Hold `size` units for the length of a `with` block; `size` is at most `per_client`."""
        await self.acquire(client, size)
        try:
            yield
        finally:
            self.release(client, size)

    async def acquire(self, client: str, size: int = 1) -> None:
        """Wait for `size` units, which are to be released again; `size` is at most `per_client`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append((size, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._grant()  # the next one in the queue may fit
            else:
                self.release(client, size)
            raise

    def release(self, client: str, size: int = 1) -> None:
        """Return units."""
        self._free += size
        self._lent[client] -= size
        if not self._lent[client]:
            del self._lent[client]
        self._move_to_end(client)
        self._grant()

    def _grant(self) -> None:
        for client in list(self._waiting):
            size = self._next(client)
            if size is None or self._lent[client] + size > self._per_client:
                continue
            if size > self._free:
                return
            _, granted = self._waiting[client].popleft()
            self._free -= size
            self._lent[client] += size
            granted.set_result(None)
            self._move_to_end(client)
            self._grant()
            return

    def _move_to_end(self, client: str) -> None:
        """Let a client have its next turn after the others that wait now, if it waits."""
        if client in self._waiting:
            self._waiting[client] = self._waiting.pop(client)

    def _next(self, client: str) -> int | None:
        """Return the units that the client's first request wants; None when none of its requests waits any more."""
        queue = self._waiting[client]
        while queue and queue[0][1].cancelled():
            queue.popleft()
        if not queue:
            del self._waiting[client]
            return None
        return queue[0][0]
