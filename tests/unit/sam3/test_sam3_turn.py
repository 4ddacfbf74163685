"""Giving the GPU up and taking it back: what clients, operator and GPU see of each step."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sam3_server.errors import LoadError
from sam3_server.intake import image_decoder
from sam3_server.residency.hold import Terms
from sam3_server.residency.state import State
from sam3_server.worker.rgb_image import RgbImage
from tests.unit.sam3.conftest import Resident, png
from tests.unit.sam3.sam3_scripted import NEED

FREE = 15360 - 450
TERMS = Terms("job/a", 1, 60.0, "secret")


async def test_the_first_request_loads_and_those_beside_it_wait_for_the_same_load(resident: Resident) -> None:
    resident.script.preparing.clear()
    requests = [resident.begin(resident.segment("cat")) for _ in range(3)]
    await resident.until(lambda: resident.coordinator.state is State.LOADING)
    assert (await resident.health())["state"] == "loading"
    resident.script.preparing.set()
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(resident.script.launched) == 1
    assert (await resident.measured())["worker_allocated_mib"] == NEED


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


async def test_a_request_overtaken_by_a_hold_is_refused_while_the_unload_still_runs(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_memory_that_is_taken_while_a_worker_prepares_leaves_it_ready_for_later(resident: Resident) -> None:
    resident.script.preparing.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: resident.coordinator.state is State.LOADING)
    resident.gpu.others = 4000
    resident.script.preparing.set()
    assert (await request).status_code == 503
    assert resident.script.launched[0].alive
    resident.gpu.others = 0
    assert (await resident.segment()).status_code == 200
    assert len(resident.script.launched) == 1


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


async def test_load_uses_the_standby(resident: Resident) -> None:
    await resident.segment()
    await resident.unload()
    await resident.until(lambda: len(resident.script.launched) == 2)
    answer = await resident.load()
    assert answer.status_code == 200
    assert answer.json()["gpu_free_mb"] == FREE - NEED
    assert len(resident.script.launched) == 2
    assert (await resident.health())["hold"] is None
    again = await resident.load()
    assert again.json()["message"] == "the model was loaded already"


@pytest.mark.parametrize("resident", [{"standby": False}], indirect=True)
async def test_without_standby_nothing_runs_while_held(resident: Resident) -> None:
    await resident.segment()
    await resident.unload()
    assert [worker.alive for worker in resident.script.launched] == [False]
    assert (await resident.load()).status_code == 200


async def test_a_standby_that_died_is_replaced(resident: Resident) -> None:
    await resident.unload()
    await resident.until(lambda: len(resident.script.launched) == 1)
    await asyncio.sleep(0.02)
    resident.script.launched[0].die()
    assert (await resident.load()).status_code == 200
    assert len(resident.script.launched) == 2


async def test_an_unload_without_a_body_places_no_hold(resident: Resident) -> None:
    await resident.segment()
    answer = await resident.client.post("/api/v1/unload")
    assert (answer.json()["gpu_freed_mb"], answer.json()["hold"]) == (NEED, None)
    await asyncio.sleep(0.02)
    assert [worker.alive for worker in resident.script.launched] == [False], "no standby without a hold"
    assert (await resident.segment()).status_code == 200


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


async def test_too_little_memory_ends_the_hold_and_is_tried_again_until_there_is_enough(resident: Resident) -> None:
    await resident.unload()
    resident.gpu.others = 4000
    answer = await resident.load()
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert "needs 14000 MiB" in answer.json()["detail"]
    health = await resident.health()
    assert (health["hold"], health["state"]) == (None, "unloaded")
    assert "needs 14000 MiB" in health["error"]
    resident.gpu.others = 0
    await resident.until(lambda: resident.coordinator.loaded)
    assert (await resident.health())["error"] is None


async def test_an_expired_hold_lets_the_server_load_but_only_into_free_memory(resident: Resident) -> None:
    resident.gpu.others = 4000
    await resident.unload(ttl_seconds=0.02)
    await resident.until(lambda: resident.coordinator.error is not None)
    assert resident.coordinator.hold is None
    assert resident.gpu.workers == 0
    resident.gpu.others = 0
    await resident.until(lambda: resident.coordinator.loaded)


async def test_a_gpu_that_cannot_be_measured_is_not_loaded_into(resident: Resident) -> None:
    resident.gpu.measurable = False
    refused = await resident.segment()
    assert refused.status_code == 503
    assert "cannot be measured" in refused.json()["detail"]
    assert not resident.script.launched
    assert (await resident.client.get("/api/v1/gpu")).status_code == 503
    assert (await resident.health())["status"] == "ok"


@pytest.mark.parametrize("step", ["prepare_failure", "attach_failure"])
async def test_a_failed_load_is_rolled_back_reported_and_retried(resident: Resident, step: str) -> None:
    setattr(resident.script, step, LoadError("the weights are damaged"))
    refused = await resident.segment()
    assert refused.status_code == 503
    assert refused.json()["detail"] == "the weights are damaged"
    health = await resident.health()
    assert (health["state"], health["error"]) == ("unloaded", "the weights are damaged")
    assert not any(worker.alive for worker in resident.script.launched)
    setattr(resident.script, step, None)
    assert (await resident.segment()).status_code == 200


async def test_an_unexpected_error_is_rolled_back_too(resident: Resident) -> None:
    resident.script.attach_failure = RuntimeError("unexpected")
    assert (await resident.segment()).status_code == 500
    assert (await resident.health())["state"] == "unloaded"
    resident.script.attach_failure = None
    assert (await resident.segment()).status_code == 200


async def test_the_server_survives_its_worker(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: len(resident.script.launched[0].images) == 2)
    resident.script.launched[0].die()
    assert (await request).status_code == 503
    health = await resident.health()
    assert health["state"] == "unloaded"
    assert "unexpectedly" in health["error"]
    resident.script.inferring.set()
    assert (await resident.segment()).status_code == 200
    assert (await resident.health())["error"] is None


async def test_a_worker_that_outlives_sigkill_fails_the_server_until_it_is_gone(resident: Resident) -> None:
    await resident.segment()
    resident.script.stuck = True
    assert (await resident.unload()).status_code == 503
    assert (await resident.health())["state"] == "failed"
    assert (await resident.client.get("/ready")).status_code == 503
    assert resident.gpu.workers == NEED
    resident.script.launched[0].die()
    assert (await resident.client.get("/ready")).status_code == 200
    assert (await resident.unload()).status_code == 200


async def test_a_newer_turn_takes_over_the_hold(resident: Resident) -> None:
    await resident.unload(fence=1)
    answer = await resident.unload(holder="job/b", fence=2)
    assert answer.json()["hold"]["holder"] == "job/b"
    assert (await resident.load(fence=1)).status_code == 409


async def test_closing_ends_every_worker(resident: Resident) -> None:
    await resident.segment()
    await resident.unload()
    await resident.until(lambda: len(resident.script.launched) == 2)
    await resident.coordinator.close()
    assert not any(worker.alive for worker in resident.script.launched)


async def test_a_damaged_upload_loads_nothing(resident: Resident) -> None:
    assert (await resident.segment(image=png()[:30])).status_code == 422
    assert not resident.script.launched


async def test_a_refused_request_resets_the_idle_time(resident: Resident) -> None:
    await resident.unload()
    resident.coordinator.in_flight._last -= 1000
    assert (await resident.measured())["idle_seconds"] >= 1000
    assert (await resident.segment()).status_code == 503
    assert (await resident.measured())["idle_seconds"] < 1000


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
