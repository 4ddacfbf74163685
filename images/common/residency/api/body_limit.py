"""Refuses bodies that are too large or too slow, on routes that take no image."""

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 16


class BodyLimit:
    """Answers 413 once a body exceeds 64 KiB, or announces it, and 408 once it has taken so many seconds.

    Paths in `others` have their own limits.
    """

    def __init__(self, app: ASGIApp, seconds: float, others: Collection[str]) -> None:
        self._app = app
        self._seconds = seconds
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request, and count and time its body."""
        if scope["type"] != "http" or scope["path"] in self._others:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        announced = int(declared) if declared.isdecimal() else 0
        received, more = 0, True
        until = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal received, more
            _require(announced)
            try:
                async with asyncio.timeout_at(until if more else None):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"the body did not arrive within {self._seconds:g} s") from error
            received += len(message.get("body", b""))
            more = message.get("more_body", False)
            _require(received)
            return message

        await self._app(scope, counted, send)


def _require(size: int) -> None:
    if size > MOST_BYTES:
        raise HTTPException(413, f"the request has more than {MOST_BYTES >> 10} KiB; this route takes no more")
