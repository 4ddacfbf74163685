"""Holds during a turn: requests are refused, and orders that are not the newest change nothing."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from residency.hold import Terms
from residency.state import State
from sam3_server.intake import image_decoder
from sam3_server.worker.rgb_image import RgbImage
from tests.unit.sam3.conftest import Resident

FREE = 15360 - 450
TERMS = Terms("job/a", 1, 60.0, "secret")


async def test_a_held_server_refuses_with_the_eta_and_counts_it(resident: Resident) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=100)
    await resident.unload(eta=eta.isoformat())
    refused = await resident.segment()
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert 95 <= int(refused.headers["retry-after"]) <= 100
    problem = refused.json()
    assert problem["detail"] == "the GPU is lent to job/a"
    assert datetime.fromisoformat(problem["eta"]) == eta
    assert (await resident.measured())["refused"] == 1
    assert resident.gpu.workers == 0
    await resident.unload(fence=2)
    assert (await resident.measured())["refused"] == 0


async def test_no_request_loads_the_model_after_the_hold_was_placed(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, proceed = threading.Event(), threading.Event()

    def slow_decode(data: bytes, max_pixels: int) -> RgbImage:
        decoding.set()
        proceed.wait(5)
        return decode(data, max_pixels)

    decode = image_decoder.decode
    monkeypatch.setattr(image_decoder, "decode", slow_decode)
    request = resident.begin(resident.segment())
    await resident.until(decoding.is_set)
    assert (await resident.unload()).status_code == 200
    proceed.set()
    assert (await request).status_code == 503
    assert resident.gpu.workers == 0


async def test_a_request_overtaken_by_a_hold_is_refused(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = image_decoder.decode

    def overtaken(data: bytes, max_pixels: int) -> RgbImage:
        resident.coordinator.holds.place(TERMS)
        return decode(data, max_pixels)

    monkeypatch.setattr(image_decoder, "decode", overtaken)
    async with resident.coordinator.model.transition:
        async with asyncio.timeout(2):
            assert (await resident.segment()).status_code == 503


async def test_a_load_that_outlived_its_abort_still_respects_the_hold(resident: Resident) -> None:
    resident.script.preparing.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.state is State.LOADING)
    resident.coordinator.holds.place(TERMS)
    resident.script.preparing.set()
    assert (await request).status_code == 503
    assert resident.gpu.workers == 0


async def test_repeating_the_unload_renews_the_hold(resident: Resident) -> None:
    await resident.segment()
    await resident.unload(ttl_seconds=10)
    answer = (await resident.unload(ttl_seconds=600)).json()
    assert answer["gpu_freed_mb"] == 0
    assert answer["gpu_free_mb"] == FREE
    assert answer["hold"]["expires_in_seconds"] > 590


async def test_stale_and_foreign_orders_change_nothing(resident: Resident) -> None:
    await resident.unload(fence=5)
    for refused in (
        await resident.unload(fence=4),
        await resident.unload(holder="job/b", fence=5),
        await resident.load(fence=4),
        await resident.load(holder="job/b", fence=5),
        await resident.load(fence=6),
        await resident.client.post("/api/v1/load"),
    ):
        assert refused.status_code == 409
        assert refused.headers["content-type"] == "application/problem+json"
    hold = (await resident.health())["hold"]
    assert (hold["holder"], hold["fence"]) == ("job/a", 5)


async def test_a_stale_unload_leaves_the_model_loaded(resident: Resident) -> None:
    await resident.unload(fence=5)
    await resident.load(fence=5)
    assert (await resident.unload(fence=4)).status_code == 409
    assert (await resident.health())["model_loaded"] is True


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"fence": 1, "renew_key": "secret"}, 200),
        ({"fence": 1, "renew_key": "guess"}, 403),
        ({"fence": 2, "renew_key": "secret"}, 409),
        ({"fence": 1}, 422),
    ],
)
async def test_renewal(resident: Resident, body: dict[str, Any], status: int) -> None:
    await resident.unload()
    assert (await resident.client.post("/api/v1/hold/renew", json=body)).status_code == status


async def test_after_a_hold_the_server_loads_into_free_memory_only(resident: Resident) -> None:
    resident.gpu.others = 4000
    await resident.unload(ttl_seconds=0.02)
    await resident.until(lambda: resident.coordinator.error is not None)
    assert resident.coordinator.hold is None
    assert resident.gpu.workers == 0
    resident.gpu.others = 0
    await resident.until(lambda: resident.coordinator.loaded)


async def test_a_newer_turn_takes_over_the_hold(resident: Resident) -> None:
    await resident.unload(fence=1)
    answer = await resident.unload(holder="job/b", fence=2)
    assert answer.json()["hold"]["holder"] == "job/b"
    assert (await resident.load(fence=1)).status_code == 409


async def test_a_refused_request_resets_the_idle_time(resident: Resident) -> None:
    await resident.unload()
    resident.coordinator.in_flight._last -= 1000
    assert (await resident.measured())["idle_seconds"] >= 1000
    assert (await resident.segment()).status_code == 503
    assert (await resident.measured())["idle_seconds"] < 1000
