"""Connections to a real uvicorn on loopback: how many there may be, how slow, and what they may cost."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from residency.api import connection_limits
from residency.api.connection_limits import ConnectionLimits, bounded_protocol

LARGE = 16 << 20
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/large` with much, `/body` with the size of what was sent, and the rest at once."""
    request = Request(scope, receive)
    response: Response = PlainTextResponse("ok")
    if scope["path"] == "/large":
        response = PlainTextResponse("x" * LARGE)
    elif scope["path"] == "/body":
        response = PlainTextResponse(str(len(await request.body())))
    await response(scope, receive, send)


class Running:
    """A server, and connections to it from addresses of loopback."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self.connections = server.server_state.connections
        """Those that the server has now."""

    async def open(self, words: bytes = b"", address: str = "127.0.0.1") -> Opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        writer.write(words)
        return reader, writer

    async def status(self, words: bytes) -> int | None:
        reader, writer = await self.open(words)
        try:
            return await status(reader)
        finally:
            writer.close()


async def status(reader: asyncio.StreamReader) -> int | None:
    """Return the status of the next answer; None when the connection is closed without one."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            return int(head.split()[1])
    return None


async def closed(reader: asyncio.StreamReader) -> None:
    """Wait until the server has closed the connection."""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass


@pytest.fixture
async def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    options = {"most": 20, "per_client": 15, "answer_seconds": 0.5} | getattr(request, "param", {})
    for name, value in options.pop("constants", {}).items():
        monkeypatch.setattr(connection_limits, name, value)
    http = bounded_protocol(ConnectionLimits(**options))
    config = uvicorn.Config(app, port=0, http=http, ws="none", log_config=None, lifespan="off")
    running = uvicorn.Server(config)
    monkeypatch.setattr(running, "capture_signals", contextlib.nullcontext)
    serving = asyncio.create_task(running.serve())
    async with asyncio.timeout(30):
        while not running.started:
            await asyncio.sleep(0.01)
    yield Running(running)
    running.should_exit = running.force_exit = True
    await serving


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SOON = pytest.mark.parametrize("server", [{"constants": {"HEAD_SECONDS": 0.3, "REST_SECONDS": 0.3}}], indirect=True)


async def test_requests_one_after_another_and_all_at_once_are_answered(server: Running) -> None:
    reader, _ = await server.open(GET)
    assert await status(reader) == 200
    reader, writer = await server.open(GET * 5)
    assert [await status(reader) for _ in range(5)] == [200] * 5
    for size in (0, 1, 70_000, 5_000_000):
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        assert await status(reader) == 200


@SOON
@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", GET + b"GET"], ids=["none", "some", "second"])
async def test_slow_headers_are_ended_at_the_deadline(server: Running, words: bytes) -> None:
    reader, writer = await server.open(words)

    async def trickle() -> None:
        while True:
            writer.write(b"X")
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    await closed(reader)
    trickling.cancel()
    assert await server.status(GET) == 200


@SOON
async def test_the_rest_of_an_answered_body_has_a_time_limit(server: Running) -> None:
    reader, writer = await server.open(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
    assert await status(reader) == 200

    async def trickle() -> None:
        while True:
            writer.write(b"X" * 1000)
            await asyncio.sleep(0.02)

    trickling = asyncio.create_task(trickle())
    await closed(reader)
    trickling.cancel()


@SOON
async def test_the_end_of_an_unwanted_body_keeps_the_connection(server: Running) -> None:
    reader, writer = await server.open(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    assert await status(reader) == 200
    writer.write(bytes(200_000) + GET)
    assert await status(reader) == 200


async def test_an_answer_that_is_not_taken_is_thrown_away(server: Running) -> None:
    reader, _ = await server.open(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    for there in (True, False):
        async with asyncio.timeout(30):
            while bool(server.connections) is not there:
                await asyncio.sleep(0.01)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(LARGE)
    assert await server.status(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") == 200


async def test_there_are_so_many_connections_in_all_and_of_one_client(server: Running) -> None:
    opened = [await server.open() for _ in range(15)]
    assert await server.status(GET) == 429
    other, writer = await server.open(GET, "127.0.0.2")
    assert await status(other) == 200
    opened += [await server.open(address="127.0.0.2") for _ in range(4)]
    last, _ = await server.open(GET, "127.0.0.3")
    assert await status(last) == 503
    for _, each in (*opened, (other, writer)):
        each.close()
    await eventually_answers(server)


async def eventually_answers(server: Running) -> None:
    async with asyncio.timeout(30):
        while await server.status(GET) != 200:
            await asyncio.sleep(0.01)


def head(lines: int, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST /body HTTP/1.1\r\nHost: x\r\n" + length + b"a: b\r\n" * lines + b"\r\n" + body


async def test_a_request_has_so_many_headers(server: Running) -> None:
    assert await server.status(head(90)) == 200
    assert await server.status(head(200)) == 400
    assert await server.status(head(50, b"\n" * 5000)) == 200, "lines of a body are no headers"
    reader, writer = await server.open()
    for byte in head(200):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert await status(reader) in (400, None)
    reader, writer = await server.open()
    for _ in range(4):
        words = head(60, b"\n" * 300)
        for start in range(0, len(words), 7):
            writer.write(words[start : start + 7])
            await writer.drain()
        assert await status(reader) == 200, "each request has its own"


def chunked(piece: bytes, count: int) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    return b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * count + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("piece", "count", "expected"),
    [(b"x", 90, 200), (b"x", 100_000, 400), (b"x" * 100, 5000, 400), (b"x" * 1000, 5000, 200)],
    ids=["few crumbs", "crumbs", "small pieces", "pieces"],
)
async def test_a_body_in_crumbs_is_not_taken(server: Running, piece: bytes, count: int, expected: int) -> None:
    assert await server.status(chunked(piece, count)) == expected


async def test_what_is_parsed_in_one_go_is_bounded(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    received = connection_limits._Connection.data_received

    @functools.wraps(received)
    def noted(self: Any, data: bytes) -> None:
        sizes.append(len(data))
        received(self, data)

    monkeypatch.setattr(connection_limits._Connection, "data_received", noted)
    body = bytes(3_000_000)
    assert await server.status(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + body) == 200
    assert max(sizes) <= connection_limits.RECEIVE_BYTES
