"""Unloading: requests are drained or aborted, and the memory is measured to be free."""

import asyncio
import threading

import pytest

from residency.state import State
from sam3_server.intake import image_decoder
from sam3_server.worker.rgb_image import RgbImage
from tests.unit.sam3.conftest import Resident
from tests.unit.sam3.scripted import NEED

FREE = 15360 - 450


async def test_unload_frees_the_memory_and_reports_how_much(resident: Resident) -> None:
    await resident.segment()
    answer = (await resident.unload(ttl_seconds=60)).json()
    assert answer["success"] is True
    assert (answer["gpu_freed_mb"], answer["gpu_free_mb"]) == (NEED, FREE)
    assert (answer["drained"], answer["aborted"]) == (0, 0)
    assert answer["hold"]["holder"] == "job/a"
    assert 59 < answer["hold"]["expires_in_seconds"] <= 60
    assert resident.gpu.workers == 0


async def test_unload_waits_for_the_driver_to_give_the_memory_back(resident: Resident) -> None:
    await resident.segment()
    resident.script.lag = 0.15
    assert (await resident.unload()).json()["gpu_freed_mb"] == NEED


async def test_requests_in_flight_are_drained(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: len(resident.script.launched[0].images) == 2)
    order = resident.begin(resident.unload())
    await resident.until(lambda: resident.coordinator.state is State.DRAINING)
    assert (await resident.segment()).status_code == 503
    resident.script.inferring.set()
    assert (await request).status_code == 200
    answer = (await order).json()
    assert (answer["drained"], answer["aborted"]) == (1, 0)


async def test_requests_that_outlast_the_drain_are_aborted(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: len(resident.script.launched[0].images) == 2)
    answer = (await resident.unload(drain_timeout_seconds=0.05)).json()
    assert (answer["drained"], answer["aborted"]) == (0, 1)
    assert answer["gpu_freed_mb"] == NEED
    aborted = await request
    assert aborted.status_code == 503
    assert "retry-after" in aborted.headers


async def test_the_ttl_of_a_hold_counts_from_the_end_of_the_unload(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: len(resident.script.launched[0].images) == 2)
    order = resident.begin(resident.unload(ttl_seconds=2, drain_timeout_seconds=60))
    await resident.until(lambda: resident.coordinator.state is State.DRAINING)
    resident.clock.passed = 30.0
    assert (await resident.health())["hold"]["expires_in_seconds"] == pytest.approx(2, abs=0.5)
    assert (await resident.client.post("/api/v1/load")).status_code == 409
    resident.script.inferring.set()
    assert (await request).status_code == 200
    answer = (await order).json()
    assert answer["hold"]["expires_in_seconds"] == pytest.approx(2, abs=0.5)
    assert (await resident.segment()).status_code == 503
    resident.clock.passed += 3
    await resident.until(lambda: resident.coordinator.loaded)
    assert resident.coordinator.hold is None


async def test_an_unload_aborts_a_load(resident: Resident) -> None:
    resident.script.preparing.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.state is State.LOADING)
    answer = (await resident.unload()).json()
    assert (answer["aborted"], answer["gpu_freed_mb"]) == (1, 0)
    assert (await request).status_code == 503
    resident.script.preparing.set()
    await asyncio.sleep(0.05)
    assert resident.gpu.workers == 0
    assert (await resident.load()).status_code == 200
    assert len(resident.script.launched) == 1, "what the aborted load had prepared was not used"


async def test_an_unload_calls_off_a_reload_that_waits_for_memory(resident: Resident) -> None:
    resident.gpu.others = 4000
    assert (await resident.load()).status_code == 503
    later = resident.coordinator.now() + 60
    assert resident.coordinator._reload.due(later)
    await resident.client.post("/api/v1/unload")
    assert not resident.coordinator._reload.due(later)


async def test_a_request_admitted_before_the_hold_is_served_while_draining(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    await resident.segment()
    decoding, proceed = threading.Event(), threading.Event()

    def slow_decode(data: bytes, max_pixels: int) -> RgbImage:
        decoding.set()
        proceed.wait(5)
        return decode(data, max_pixels)

    decode = image_decoder.decode
    monkeypatch.setattr(image_decoder, "decode", slow_decode)
    request = resident.begin(resident.segment())
    await resident.until(decoding.is_set)
    order = resident.begin(resident.unload())
    await resident.until(lambda: resident.coordinator.state is State.DRAINING)
    proceed.set()
    assert (await request).status_code == 200
    assert (await order).json()["drained"] == 1


async def test_an_unload_without_a_body_places_no_hold(resident: Resident) -> None:
    await resident.segment()
    answer = await resident.client.post("/api/v1/unload")
    assert (answer.json()["gpu_freed_mb"], answer.json()["hold"]) == (NEED, None)
    await asyncio.sleep(0.02)
    assert [worker.alive for worker in resident.script.launched] == [False], "no standby without a hold"
    assert (await resident.segment()).status_code == 200


async def test_a_worker_that_outlives_sigkill_fails_the_server(resident: Resident) -> None:
    await resident.segment()
    resident.script.stuck = True
    assert (await resident.unload()).status_code == 503
    assert (await resident.health())["state"] == "failed"
    assert (await resident.client.get("/ready")).status_code == 503
    assert resident.gpu.workers == NEED
    resident.script.launched[0].die()
    assert (await resident.client.get("/ready")).status_code == 200
    assert (await resident.unload()).status_code == 200


async def test_closing_ends_every_worker(resident: Resident) -> None:
    await resident.segment()
    await resident.unload()
    await resident.until(lambda: len(resident.script.launched) == 2)
    await resident.coordinator.close()
    assert not any(worker.alive for worker in resident.script.launched)


async def test_an_unload_does_not_wait_for_answers_that_are_being_written(resident: Resident) -> None:
    await resident.segment()
    resident.script.encoding.clear()
    request = resident.begin(resident.segment())
    await resident.until(
        lambda: resident.coordinator.in_flight.count == 1 and not resident.coordinator.in_flight.needing_worker
    )
    answer = (await resident.unload(drain_timeout_seconds=60)).json()
    assert (answer["drained"], answer["aborted"], resident.gpu.workers) == (0, 0, 0)
    assert (await resident.measured())["in_flight"] == 1
    resident.script.encoding.set()
    assert (await request).status_code == 200
