"""A client that sends any bytes, and sees whether the connection stays open for the next request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE_SECONDS = 60.0  # of a machine that does more than this


@dataclass(frozen=True)
class Message:
    """One request as bytes. Where it is no HTTP, the server need not answer, and may close the connection."""

    content: bytes
    is_http: bool = True
    is_head: bool = False


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class ClosedError(Exception):
    """The server closed the connection without an answer."""


class Client:
    """Keeps one connection to a server on this machine, and opens another where that one was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: Message) -> Answer:
        """Return the answer to a message.

        Raises:
            ClosedError: the connection was closed without one.
            TimeoutError: there was none in time.

        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            fresh = self._streams is None
            reader, writer = await self._connected()
            try:
                answer = await _exchange(reader, writer, message)
            except (OSError, EOFError, ValueError) as error:
                await self.close()
                raise ClosedError(f"{type(error).__name__} on a {'new' if fresh else 'kept'} connection") from error
        if answer.closes or not message.is_http:
            await self.close()
        return answer

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    opened = Client(port)
    try:
        yield opened
    finally:
        await opened.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message) -> Answer:
    sending = asyncio.ensure_future(_send(writer, message))
    try:
        while True:
            status, headers = await _head(reader)
            if status >= 200:
                break
        body = b"" if message.is_head or status in (204, 304) else await _body(reader, headers)
        if headers.get("connection", "").lower() != "close":
            await sending
        return Answer(status, headers, body)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(message.content)
    await writer.drain()
    if not message.is_http:
        writer.write_eof()  # else the server may rightly wait for more


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body
