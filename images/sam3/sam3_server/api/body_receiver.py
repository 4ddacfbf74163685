"""Takes the bodies of inference requests: into files in memory, within bounds on bytes and time."""

import asyncio
import os
from collections.abc import Callable

from starlette.requests import Request

from sam3_server import memory_files
from sam3_server.errors import BodyError, BusyError, ImageTooLargeError
from sam3_server.fair_queue import FairQueue

BODIES = 4  # of the largest size that are in memory at a time, and twice as many as one client may have there


class Body:
    """A request's body in a file in memory, which is freed when it is closed, at the latest after a `with` block."""

    def __init__(self, content_type: str, release: Callable[[], None]) -> None:
        self.content_type = content_type
        self.descriptor = memory_files.create("sam3-body")
        self._release: Callable[[], None] | None = release

    def close(self) -> None:
        """Free the memory, unless it is free already."""
        if self._release is not None:
            os.close(self.descriptor)
            self._release()
            self._release = None

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Bodies:
    """Takes bodies of at most `max_bytes` that arrive within so many seconds, some of the largest at a time."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._memory = FairQueue(max_bytes * BODIES, max_bytes * BODIES // 2)

    async def take(self, request: Request, client: str, still_open: Callable[[], None]) -> Body:
        """Return a request's body. `still_open` raises when it need not be taken any further.

        Raises:
            ImageTooLargeError: it has more bytes than are allowed, or says so.
            BusyError: too many bytes are in memory.
            BodyError: it does not arrive in time (408).
            ClientDisconnect: the client has left.

        """
        size = self._announced(request)
        waiting = True
        try:
            async with asyncio.timeout(self._seconds):
                await self._memory.acquire(client, size)
                waiting = False
                return await self._filled(request, lambda: self._memory.release(client, size), still_open)
        except TimeoutError as error:
            if waiting:
                raise BusyError("other requests have the memory that there is for images") from error
            raise BodyError(
                408, f"the body did not arrive within {self._seconds:g} s; send a smaller image, or over a faster way"
            ) from error

    async def _filled(self, request: Request, release: Callable[[], None], still_open: Callable[[], None]) -> Body:
        try:
            body = Body(request.headers.get("content-type", ""), release)
        except OSError as error:
            release()
            raise BusyError(f"there is nothing to keep the body in: {error.strerror}") from error
        try:
            still_open()
            received = 0
            async for piece in request.stream():
                still_open()
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
