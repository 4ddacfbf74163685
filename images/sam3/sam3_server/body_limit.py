"""Refuses bodies that are too large while they arrive, before they fill memory or disk."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Answers 413 once a request's body exceeds `max_bytes`, or says that it will."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        announced = int(declared) if declared.isdecimal() else 0
        received = 0

        async def counted() -> Message:
            nonlocal received
            self._require(announced)
            message = await receive()
            received += len(message.get("body", b""))
            self._require(received)
            return message

        await self._app(scope, counted, send)

    def _require(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, f"the request has more than {self._max_bytes >> 20} MiB; send a smaller image")
