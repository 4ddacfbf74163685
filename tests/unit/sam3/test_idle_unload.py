"""A model that gets no requests is unloaded, and loaded again by the next one."""

import asyncio

import pytest

from tests.unit.sam3.conftest import Resident
from tests.unit.sam3.scripted import NEED

IDLE = {"idle_unload": 0.2}
idle = pytest.mark.parametrize("resident", [IDLE], indirect=True)


@idle
async def test_an_idle_model_is_unloaded_and_the_next_request_loads_it(resident: Resident) -> None:
    assert (await resident.segment()).status_code == 200
    await resident.until(lambda: resident.gpu.workers == 0)
    assert (await resident.health())["error"] is None
    await resident.until(lambda: resident.pool.standby_ready)
    launched = len(resident.script.launched)
    assert (await resident.segment()).status_code == 200
    assert resident.gpu.workers == NEED
    assert len(resident.script.launched) == launched, "the standby answers"


async def test_by_default_it_stays(resident: Resident) -> None:
    await resident.segment()
    resident.clock.passed += 10**6
    for _ in range(3):
        await resident.coordinator.reconcile()
    assert resident.coordinator.loaded


@idle
async def test_a_request_in_flight_is_no_idle_time(resident: Resident) -> None:
    await resident.segment()
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await asyncio.sleep(0.5)
    assert resident.coordinator.loaded
    resident.script.inferring.set()
    assert (await request).status_code == 200


@idle
async def test_a_request_that_arrives_during_the_unload_is_served(resident: Resident) -> None:
    await resident.segment()
    resident.script.lag = 0.3
    await resident.until(lambda: not resident.coordinator.loaded)
    assert (await resident.segment()).status_code == 200
    assert resident.gpu.workers == NEED


@idle
async def test_a_load_by_order_lasts(resident: Resident) -> None:
    """The operator loads after a turn, and must see that it has succeeded."""
    await resident.segment()
    await resident.until(lambda: not resident.coordinator.loaded)
    await resident.unload()
    await asyncio.sleep(0.4)
    assert (await resident.load()).status_code == 200
    await resident.coordinator.reconcile()
    assert resident.coordinator.loaded
    await resident.until(lambda: not resident.coordinator.loaded)


@idle
async def test_a_hold_comes_first(resident: Resident) -> None:
    await resident.segment()
    assert (await resident.unload(ttl_seconds=60)).status_code == 200
    await asyncio.sleep(0.4)
    assert resident.coordinator.hold is not None
    assert resident.gpu.workers == 0
    assert (await resident.segment()).status_code == 503


@idle
async def test_memory_that_is_taken_meanwhile_is_waited_for(resident: Resident) -> None:
    await resident.segment()
    await resident.until(lambda: not resident.coordinator.loaded)
    resident.gpu.others = 4000
    refused = await resident.segment()
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    resident.gpu.others = 0
    assert (await resident.segment()).status_code == 200
