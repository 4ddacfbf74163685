"""Turns: who has the GPU when, whatever clients and the engine do."""

import asyncio

import aiohttp
import pytest

from devcluster.scripted.engines import CONTEXT_MIB, MODEL_MIB
from tests.unit.adapter.conftest import Scene


async def status_of(scene: Scene, path: str = "/v1/echo") -> int:
    async with scene.client.post(path, data=b"x") as answer:
        return answer.status


async def test_an_engine_that_loads_at_its_start_is_seen(scene: Scene) -> None:
    await scene.is_loaded()
    report = (await scene.control.get("/api/v1/gpu")).json()
    assert report["worker_allocated_mib"] == MODEL_MIB + CONTEXT_MIB


async def test_a_held_engine_sees_no_request(scene: Scene) -> None:
    await scene.is_loaded()
    eta = "2030-01-01T00:00:00Z"
    assert (await scene.unload(eta=eta)).status_code == 200
    assert not scene.engine.loaded
    before = len(scene.engine.calls)
    async with scene.client.post("/v1/echo", data=b"x") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["eta"] == eta
    assert [call for call in scene.engine.calls[before:] if "echo" in call] == []
    async with scene.client.get("/health") as answer:
        assert answer.status == 200, "what needs no GPU passes"
    assert (await scene.load()).status_code == 200
    assert await status_of(scene) == 200


async def test_what_the_engine_keeps_is_reported(scene: Scene) -> None:
    await scene.is_loaded()
    answer = (await scene.unload()).json()
    assert answer["gpu_freed_mb"] == MODEL_MIB
    assert (await scene.control.get("/api/v1/gpu")).json()["residual_mib"] == CONTEXT_MIB


@pytest.mark.parametrize("scene", [{"profile": "ollama", "loaded": False}], indirect=True)
async def test_the_first_request_loads_the_model(scene: Scene) -> None:
    assert await status_of(scene) == 200
    assert scene.engine.loaded


@pytest.mark.parametrize("scene", [{"profile": "ollama", "loaded": False}], indirect=True)
async def test_nothing_is_loaded_where_memory_lacks(scene: Scene) -> None:
    with scene.ledger.book(6_000):
        async with scene.client.post("/v1/echo", data=b"x") as answer:
            assert answer.status == 503
            assert "needs 10000 MiB" in (await answer.json())["detail"]
    assert not scene.engine.loaded
    assert await status_of(scene) == 200


async def test_requests_in_flight_are_drained(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.pause()
    slow = asyncio.create_task(status_of(scene))
    await scene.until(lambda: scene.adapter.coordinator.in_flight.count == 1)
    unload = asyncio.create_task(scene.unload())
    await asyncio.sleep(0.1)
    assert scene.engine.loaded
    scene.engine.resume()
    assert await slow == 200
    assert (await unload).json()["drained"] == 1


async def test_what_does_not_end_is_aborted(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.pause()
    slow = asyncio.create_task(status_of(scene))
    await scene.until(lambda: scene.adapter.coordinator.in_flight.count == 1)
    assert (await scene.unload(drain_timeout_seconds=0)).json()["aborted"] == 1
    async with asyncio.timeout(5):
        assert await slow == 503
    assert not scene.engine.loaded


async def test_an_answer_that_has_begun_is_cut_off(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.pause()
    async with scene.client.get("/v1/events") as answer:
        await answer.content.readuntil(b"\n\n")
        await scene.unload(drain_timeout_seconds=0)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with asyncio.timeout(5):
                await answer.read()


async def test_a_websocket_is_closed(scene: Scene) -> None:
    await scene.is_loaded()
    async with scene.client.ws_connect("/v1/socket") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        assert (await scene.unload(drain_timeout_seconds=0)).json()["aborted"] == 1
        async with asyncio.timeout(5):
            end = await socket.receive()
    assert end.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING}
    assert not scene.engine.loaded


async def test_an_order_that_comes_first_of_all_unloads_the_engine(scene: Scene) -> None:
    """The adapter has not seen the engine yet, and a request waits for it."""
    asked = asyncio.create_task(status_of(scene))
    assert (await scene.unload(drain_timeout_seconds=0)).status_code == 200
    assert not scene.engine.loaded
    async with asyncio.timeout(5):
        assert await asked in {200, 503}


async def test_an_engine_that_loads_by_itself_in_a_turn_is_unloaded_again(scene: Scene) -> None:
    await scene.is_loaded()
    await scene.unload()
    scene.engine.load()
    await scene.until(lambda: not scene.engine.loaded)
    assert (await scene.health())["model_loaded"] is False


async def test_an_engine_that_does_not_let_go_is_said_to_be_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.is_loaded()
    monkeypatch.setattr(scene.engine, "unload", lambda: None)
    monkeypatch.setattr(type(scene.engine), "loaded", property(lambda _: True))
    answer = await scene.unload()
    assert answer.status_code == 503
    assert "the engine still has the model, by the engine's GET /is_sleeping" in answer.json()["detail"]
    assert "still has the model" in (await scene.health())["error"]


async def test_an_engine_without_its_flags_is_named_with_them(scene: Scene) -> None:
    await scene.is_loaded()
    scene.engine.refused = "/sleep"
    detail = (await scene.unload()).json()["detail"]
    assert "POST /sleep?level=1&mode=abort is answered with 404" in detail
    assert "--enable-sleep-mode" in detail


@pytest.mark.parametrize("scene", [{"idle_unload": 10.0}], indirect=True)
async def test_an_idle_engine_is_unloaded_and_wakes_up_for_a_request(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.is_loaded()
    monkeypatch.setattr(scene.adapter.coordinator.idle_unload, "_seconds", 0.1)
    await scene.until(lambda: not scene.engine.loaded)
    monkeypatch.setattr(scene.adapter.coordinator.idle_unload, "_seconds", 60.0)
    assert await status_of(scene) == 200
    assert scene.engine.loaded
