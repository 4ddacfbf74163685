"""Receives the bodies of inference requests into files in memory, within limits on bytes and time."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from residency.errors import BodyError, BusyError
from residency.fair_queue import FairQueue
from sam3_server import memory_files
from sam3_server.errors import ImageTooLargeError
from sam3_server.intake.body import Body

MAX_BODIES = 4  # of the largest size that are in memory at a time, and twice as many as one client may have there


class BodyReceiver:
    """Receives bodies of at most `max_bytes` that arrive within so many seconds, a few of the largest at a time."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._memory = FairQueue(max_bytes * MAX_BODIES, max_bytes * MAX_BODIES // 2)

    async def receive(self, request: Request, client: str, require_open: Callable[[], None]) -> Body:
        """Return a request's body. `require_open` raises once the request is refused.

        Raises:
            ImageTooLargeError: it has, or announces, more bytes than are allowed.
            BusyError: too many bytes are in memory.
            BodyError: it does not arrive in time (408).
            ClientDisconnect: the client has disconnected.

        """
        size = self._announced(request)
        waiting = True
        try:
            async with asyncio.timeout(self._seconds):
                await self._memory.acquire(client, size)
                waiting = False
                return await self._filled(request, lambda: self._memory.release(client, size), require_open)
        except TimeoutError as error:
            if waiting:
                raise BusyError("the bodies of other requests use all memory for bodies") from error
            raise BodyError(
                408,
                f"the body did not arrive within {self._seconds:g} s; send a smaller image, or use a faster connection",
            ) from error

    async def _filled(self, request: Request, release: Callable[[], None], require_open: Callable[[], None]) -> Body:
        try:
            body = Body(request.headers.get("content-type", ""), release)
        except OSError as error:
            release()
            raise BusyError(f"no memory for the body: {error.strerror}") from error
        try:
            require_open()
            received = 0
            async for piece in request.stream():
                require_open()
                received += len(piece)
                self._require(received)
                memory_files.write(body.descriptor, piece)
        except BaseException:
            body.close()
            raise
        return body

    def _announced(self, request: Request) -> int:
        """Return the bytes to set aside: as many as the client announces, else the most that are allowed."""
        declared = request.headers.get("content-length", "")
        if not declared.isdecimal():
            return self._max_bytes
        self._require(int(declared))
        return int(declared)

    def _require(self, size: int) -> None:
        if size > self._max_bytes:
            raise ImageTooLargeError(f"the request has more than {self._max_bytes >> 20} MiB; send a smaller image")
