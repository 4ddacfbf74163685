"""What passes through the adapter, and how."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.unit.adapter.conftest import Scene

LARGE = bytes(range(256)) * 20_000


async def test_bodies_and_headers_pass_both_ways(scene: Scene) -> None:
    await scene.is_loaded()
    headers = {"X-Forwarded-For": "6.6.6.6", "Connection": "X-Own", "X-Own": "1", "X-Own-Other": "2"}
    async with scene.client.put("/v1/echo?a=%2F&b", data=LARGE, headers=headers) as answer:
        assert answer.status == 200
        assert await answer.read() == LARGE
        assert answer.headers["X-Asked"] == "PUT"
        assert answer.headers["X-Host"] == scene.engine.url.removeprefix("http://")
        assert answer.headers["X-Client"] == "127.0.0.1", "what a client says of itself is replaced"
        assert answer.headers["X-Passed"] == "X-Own-Other", "a header for one connection is not passed on"
        assert answer.headers["Content-Length"] == str(len(LARGE))
    assert scene.engine.calls[-1] == "PUT /v1/echo?a=/&b"


async def test_a_body_of_unknown_length_passes(scene: Scene) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part"
            await asyncio.sleep(0)

    async with scene.client.post("/v1/echo", data=parts()) as answer:
        assert await answer.read() == b"part" * 3


async def test_events_arrive_as_they_come(scene: Scene) -> None:
    scene.engine.pause()
    async with scene.client.get("/v1/events") as answer:
        first = await answer.content.readuntil(b"\n\n")
        scene.engine.resume()
        assert (first + await answer.read()).count(b"data:") == 3


async def test_a_websocket_passes_with_its_protocol(scene: Scene) -> None:
    async with scene.client.ws_connect("/v1/socket", protocols=("other", "chat")) as socket:
        assert socket.protocol == "chat"
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        await socket.send_bytes(b"abc")
        assert await socket.receive_bytes() == b"cba"
        assert scene.adapter.coordinator.in_flight.count == 1
    await scene.until(lambda: scene.adapter.coordinator.in_flight.count == 0)


async def test_a_closed_call_never_reaches_the_engine(scene: Scene) -> None:
    for path in ("/sleep", "/x/%2e%2e/sleep"):
        async with scene.client.post(path) as answer:
            assert answer.status in (400, 403)
            assert answer.content_type == "application/problem+json"
    assert not [call for call in scene.engine.calls if "sleep" in call and call.startswith("POST")]


async def test_a_client_that_disconnects_ends_its_request_at_the_engine(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.pause()
    with pytest.raises(TimeoutError):
        async with scene.client.post("/v1/echo", data=b"x", timeout=aiohttp.ClientTimeout(total=0.2)):
            pass
    await scene.until(lambda: scene.adapter.coordinator.in_flight.count == 0)
    metrics = (await scene.control.get("/metrics")).text
    assert "relay_adapter_abandoned_total 1.0" in metrics


async def test_an_engine_that_is_down_is_named(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.close()
    async with scene.client.post("/v1/echo", data=b"x") as answer:
        assert answer.status == 503
        assert "the engine does not answer" in (await answer.json())["detail"]
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("scene", [{"max_in_flight": 2, "max_per_client": 1}], indirect=True)
async def test_more_requests_than_are_allowed_are_refused(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.pause()
    slow = asyncio.create_task(_posted(scene))
    await scene.until(lambda: scene.adapter.coordinator.in_flight.count == 1)
    assert await _posted(scene) == 429
    async with scene.client.get("/health") as answer:
        assert answer.status == 200, "what needs no GPU passes"
    scene.engine.resume()
    assert await slow == 200


async def test_a_client_that_asks_before_it_sends_a_body_is_answered(scene: Scene) -> None:
    await scene.is_loaded()
    async with asyncio.timeout(5), scene.client.post("/v1/echo", data=b"x", expect100=True) as answer:
        assert await answer.read() == b"x"


@pytest.mark.parametrize("scene", [{"max_connections": 8}], indirect=True)
async def test_one_client_cannot_take_all_connections(scene: Scene) -> None:
    await scene.is_loaded()
    url = scene.client._base_url
    assert url is not None and url.port is not None
    idle = [await asyncio.open_connection("127.0.0.1", url.port) for _ in range(2)]
    reader, _ = await asyncio.open_connection("127.0.0.1", url.port)
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "the third of eight is closed"
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    assert await _posted(scene) == 200


async def _posted(scene: Scene) -> int:
    async with scene.client.post("/v1/echo", data=b"x") as answer:
        return answer.status
