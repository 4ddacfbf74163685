"""Loading: one load for all who wait, standby processes, too little memory, and failures."""

import asyncio

import pytest

from residency.errors import LoadError
from residency.state import State
from tests.unit.sam3.conftest import Resident, png
from tests.unit.sam3.scripted import NEED

FREE = 15360 - 450


async def test_requests_share_one_load(resident: Resident) -> None:
    resident.script.preparing.clear()
    requests = [resident.begin(resident.segment("cat")) for _ in range(3)]
    await resident.until(lambda: resident.coordinator.state is State.LOADING)
    assert (await resident.health())["state"] == "loading"
    resident.script.preparing.set()
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(resident.script.launched) == 1
    assert (await resident.measured())["worker_allocated_mib"] == NEED


async def test_a_worker_without_memory_stays_prepared(resident: Resident) -> None:
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


async def test_a_load_is_tried_until_there_is_enough_memory(resident: Resident) -> None:
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


async def test_a_damaged_upload_loads_nothing(resident: Resident) -> None:
    assert (await resident.segment(image=png()[:30])).status_code == 422
    assert not resident.script.launched
