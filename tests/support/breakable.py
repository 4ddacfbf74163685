"""A TCP connection that a test can break: what two machines see when the network between them is gone."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit


class Breakable:
    """Forwards what connects to its own port to a server on loopback, unless it is broken."""

    def __init__(self, server: str) -> None:
        """`server` is a URL on 127.0.0.1."""
        self._target = urlsplit(server).port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self.restore()

    @property
    def url(self) -> str:
        """Its own address, with the scheme of TLS, which passes through."""
        return f"https://127.0.0.1:{self._port}"

    def restore(self) -> None:
        """Accept connections."""
        if self._listener is None:
            self._run(self._listen())

    def lose(self) -> None:
        """End all connections, and refuse new ones."""
        self._run(self._lose())

    def close(self) -> None:
        """End all connections for good."""
        self.lose()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _lose(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, back}
        self._writers |= both
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._writers -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
