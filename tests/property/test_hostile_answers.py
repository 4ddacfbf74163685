"""No HTTP answer of a trainer or a resident can break the operator: it is read, or the server counts as unavailable."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from gpu_relay.clients import trainers
from gpu_relay.clients.http import UnavailableError, call, open_session
from gpu_relay.clients.residents import Limits, ResidentClient
from gpu_relay.domain.objects.pod import training_pod_of
from gpu_relay.domain.objects.resident import GpuReport
from tests.support.builders import pod_object

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def ask(reply: Reply, client: Callable[[aiohttp.ClientSession, str], Awaitable[Any]]) -> Any:
    """Serve one reply on loopback and have a client ask for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await reply(writer)
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_session() as session:
        return await client(session, url)


def whole(body: bytes, status: str = "200 OK", headers: str = "") -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return reply


def raw(text: bytes) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return reply


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send one byte at a time, indefinitely."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send chunk after chunk, as fast as the client reads them."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def in_parts(writer: asyncio.StreamWriter) -> None:
    """Send a valid answer in three packets."""
    body = json.dumps({"epoch": 3}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    for part in (body[:4], body[4:9], body[9:]):
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(part)


HOSTILE: dict[str, Reply] = {
    "nothing": raw(b""),
    "no HTTP": raw(b"\x00\xff\r\n\r\n"),
    "another status line": raw(b"HTTP/9.9 999 " + b"x" * 5000 + b"\r\n\r\n"),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "broken chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "an end too soon": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "a dripping answer": drip,
    "an endless answer": endless,
    "a large answer": whole(b'{"a": "%s"}' % (b"x" * 300_000)),
    "a packed answer": whole(b"\x1f\x8b\x08" + b"\x00" * 50, headers="Content-Encoding: gzip\r\n"),
    "deep JSON": whole(b"[" * 200_000),
    "deep JSON objects": whole(b'{"a":' * 40_000),
    "a list": whole(b"[]"),
    "not UTF-8": whole(b'{"a": "\xff\xfe"}'),
    "another place": whole(b"{}", "302 Found", "Location: http://169.254.169.254/\r\n"),
    "words of any kind": whole(b'{"detail": [[[[[[[[[[1]]]]]]]]]], "title": {"a": NaN}}', "500 Oh"),
    "long words": whole(b'{"detail": "%s"}' % (b"x" * 100_000), "503 Busy"),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "early hints": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50),
    "another protocol": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "cookies": whole(b"[]", headers="Set-Cookie: \x01=\x02; Domain=\xff\r\n" * 20),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_counts_as_unavailable(name: str) -> None:
    with pytest.raises(UnavailableError) as refused:
        await ask(HOSTILE[name], lambda session, url: call(session, "GET", url, timeout=0.3))
    assert len(str(refused.value)) <= 600


async def test_an_answer_in_parts_is_complete() -> None:
    assert await ask(in_parts, lambda session, url: call(session, "GET", url, timeout=5)) == {"epoch": 3}


GOOD = {
    "uuid": "GPU-1", "name": "T4", "total_mib": 15360, "reserved_mib": 450, "used_mib": 0, "free_mib": 14910,
    "need_mib": 14000, "model_loaded": False, "state": "unloaded", "hold": None,
}  # fmt: skip
BAD_REPORTS: list[dict[str, Any]] = [
    {"uuid": "gpu-unmanaged"}, {"uuid": "GPU-unmanaged"}, {"uuid": "GPU-" + "a" * 60}, {"uuid": "../x"},
    {"uuid": ["GPU-1"]},
    {"free_mib": -1}, {"free_mib": 2**31}, {"free_mib": "14910.5"}, {"free_mib": 1e300}, {"free_mib": None},
    {"name": "x" * 200}, {"state": {}}, {"hold": []}, {"hold": {"holder": "x", "fence": -1, "expires_in_seconds": 1}},
    {"hold": {"holder": "x", "fence": 1, "expires_in_seconds": "NaN"}}, {"idle_seconds": -1}, {"model_loaded": "maybe"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD_REPORTS)
async def test_an_invalid_report_is_refused(wrong: dict[str, Any]) -> None:
    def report(session: aiohttp.ClientSession, url: str) -> Awaitable[GpuReport]:
        return ResidentClient(session, None, Limits(measure=2)).report(url)

    with pytest.raises(UnavailableError, match="its report is invalid"):
        await ask(whole(json.dumps({**GOOD, **wrong}).encode()), report)
    assert (await ask(whole(json.dumps(GOOD).encode()), report)).free_mib == 14_910


async def test_an_invalid_progress_answer_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    async def progress(session: aiohttp.ClientSession, url: str) -> Any:
        monkeypatch.setattr(trainers, "PORT", int(url.rpartition(":")[2]))
        return await trainers.progress(session, replace(training_pod_of(pod_object(None)), ip="127.0.0.1"))

    assert await ask(HOSTILE["deep JSON"], progress) is None
    assert await ask(whole(b'{"epoch": 1e999}'), progress) == {"epoch": None}
