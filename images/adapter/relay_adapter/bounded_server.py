"""aiohttp's server with a limit on connections, in all and of one client, which it lacks."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from residency.api.client_address import client_network

PER_CLIENT_SHARE = 4
"""One client may have a fourth of the connections."""


class BoundedServer(web.Server):
    """Closes what exceeds the limit at once: a client that waits for an answer would wait for others to leave."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], most: int, **options: Any
    ) -> None:
        """`most` is the number of connections; `options` are those of aiohttp's server."""
        super().__init__(handler, **options)
        self._most = most
        self._clients: dict[RequestHandler, str] = {}
        self._counts: Counter[str] = Counter()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection, or close it."""
        super().connection_made(handler, transport)
        address = transport.get_extra_info("peername")
        client = client_network(str(address[0])) if address else "unknown"
        self._clients[handler] = client
        self._counts[client] += 1
        if len(self._clients) > self._most or self._counts[client] > max(1, self._most // PER_CLIENT_SHARE):
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Stop counting it."""
        super().connection_lost(handler, exc)
        client = self._clients.pop(handler, None)
        if client is not None:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]
