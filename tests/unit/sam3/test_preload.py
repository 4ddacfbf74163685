"""Loading at start without a request, and readiness that waits for it."""

from typing import Any

import pytest

from residency.errors import LoadError
from tests.unit.sam3.conftest import Resident
from tests.unit.sam3.scripted import NEED

PRELOAD = {"preload": True, "ready_when_loaded": True}
preload = pytest.mark.parametrize("resident", [PRELOAD], indirect=True)


async def readiness(resident: Resident) -> tuple[int, dict[str, Any]]:
    answer = await resident.client.get("/ready")
    return answer.status_code, answer.json()


@preload
async def test_the_model_is_loaded_before_anybody_asks(resident: Resident) -> None:
    await resident.until(lambda: resident.coordinator.loaded)
    assert (await resident.segment()).status_code == 200
    assert len(resident.script.launched) == 1


async def test_by_default_nothing_is_loaded_before_a_request(resident: Resident) -> None:
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert not resident.script.launched


@pytest.mark.parametrize("resident", [PRELOAD | {"others": 4000}], indirect=True)
async def test_it_waits_for_memory(resident: Resident) -> None:
    await resident.until(lambda: resident.coordinator.error is not None)
    assert resident.gpu.workers == 0
    resident.gpu.others = 0
    await resident.until(lambda: resident.coordinator.loaded)


@pytest.mark.parametrize("resident", [PRELOAD | {"held": True}], indirect=True)
async def test_it_waits_for_the_end_of_a_hold_of_before_the_start(resident: Resident) -> None:
    assert resident.coordinator.hold is not None
    await resident.until(lambda: resident.pool.standby_ready)
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert resident.gpu.workers == 0
    assert (await resident.load()).status_code == 200
    assert resident.gpu.workers == NEED


@preload
async def test_an_unload_is_not_undone(resident: Resident) -> None:
    await resident.until(lambda: resident.coordinator.loaded)
    await resident.client.post("/api/v1/unload")
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert resident.gpu.workers == 0


@preload
async def test_a_preload_gives_way_to_a_hold(resident: Resident) -> None:
    resident.script.preparing.clear()
    await resident.until(lambda: bool(resident.script.launched))
    assert (await resident.unload()).status_code == 200
    resident.script.preparing.set()
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert resident.gpu.workers == 0


@preload
async def test_a_worker_that_dies_is_replaced_without_a_request(resident: Resident) -> None:
    await resident.until(lambda: resident.coordinator.loaded)
    resident.script.launched[0].die()
    assert "it is loaded again" in str((await resident.health())["error"])
    await resident.until(lambda: resident.coordinator.loaded)


@preload
async def test_readiness_by_the_model_follows_it(resident: Resident) -> None:
    await resident.until(lambda: resident.coordinator.loaded)
    assert await readiness(resident) == (200, {"status": "ok", "serves": True, "model_loaded": True})
    await resident.unload()
    status, problem = await readiness(resident)
    assert status == 503
    assert (problem["serves"], problem["model_loaded"]) == (True, False)
    assert problem["detail"] == "the model is not loaded: the GPU is lent to job/a"
    assert (await resident.health())["status"] == "ok"
    await resident.load()
    assert (await readiness(resident))[0] == 200


@preload
async def test_readiness_by_the_model_reports_why_it_is_not_loaded(resident: Resident) -> None:
    resident.script.preparing.clear()
    await resident.until(lambda: bool(resident.script.launched))
    assert (await readiness(resident))[1]["detail"] == "the model is not loaded: loading"
    resident.script.prepare_failure = LoadError("the weights are damaged")
    resident.script.preparing.set()
    await resident.until(lambda: resident.coordinator.error is not None)
    assert (await readiness(resident))[1]["detail"] == "the model is not loaded: the weights are damaged"


async def test_readiness_by_default_is_that_it_serves(resident: Resident) -> None:
    assert await readiness(resident) == (200, {"status": "ok", "serves": True, "model_loaded": False})
    await resident.segment()
    assert await readiness(resident) == (200, {"status": "ok", "serves": True, "model_loaded": True})
    await resident.unload()
    assert await readiness(resident) == (200, {"status": "ok", "serves": True, "model_loaded": False})
