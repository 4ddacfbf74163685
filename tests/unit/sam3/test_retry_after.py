"""When a refused client is asked to come again: an estimate from what was measured, or from the hold's end."""

from datetime import UTC, datetime, timedelta

import pytest

from residency.errors import LoadError
from residency.hold import Hold, Terms
from residency.retry_after import Durations, Step, retry_after, seconds_until_end
from residency.state import State
from tests.unit.sam3.conftest import Resident


@pytest.mark.parametrize(
    ("eta_seconds", "expected"),
    [(None, 30), (90, 90), (-5, 30), (86400, 86400)],
    ids=["the hold's end", "the eta", "an eta in the past", "a day"],
)
def test_a_hold_is_to_end_at_its_eta_or_when_it_expires(eta_seconds: float | None, expected: int) -> None:
    wall = datetime(2026, 1, 1, tzinfo=UTC)
    eta = None if eta_seconds is None else wall + timedelta(seconds=eta_seconds)
    hold = Hold(Terms("job/a", 1, 60.0, "key", eta), 0.0, 60.0)
    assert seconds_until_end(hold, now=30.0, wall=wall) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (0.2, 1), (4.1, 5), (86400.0, 300)])
def test_the_header_is_whole_seconds_within_bounds(seconds: float, expected: int) -> None:
    assert retry_after(seconds) == expected


def test_the_newest_measurement_counts_most_and_none_forever() -> None:
    durations = Durations()
    assert durations.mean(Step.REQUEST) == 2
    durations.record(Step.REQUEST, 10.0)
    assert durations.mean(Step.REQUEST) == 10
    for _ in range(20):
        durations.record(Step.REQUEST, 1.0)
    assert durations.mean(Step.REQUEST) == pytest.approx(1, abs=0.1)
    assert durations.mean(Step.LOAD) == 2


@pytest.mark.parametrize("resident", [{"max_in_flight": 3}], indirect=True)
async def test_a_full_server_estimates_when_its_queue_is_served(resident: Resident) -> None:
    resident.script.seconds = 7.0
    await resident.segment()
    resident.script.inferring.clear()
    waiting = [resident.begin(resident.segment()) for _ in range(3)]
    await resident.until(lambda: resident.coordinator.in_flight.count == 3)
    assert (await resident.segment()).headers["retry-after"] == "21"
    resident.script.inferring.set()
    assert [(await each).status_code for each in waiting] == [200] * 3


async def test_without_a_hold_the_estimate_is_unload_and_load(resident: Resident) -> None:
    await resident.segment()
    durations = resident.coordinator.durations
    durations.record(Step.UNLOAD, 5.0)
    durations.record(Step.LOAD, 40.0 - 3 * durations.mean(Step.LOAD))  # the mean becomes 10
    resident.script.inferring.clear()
    request = resident.begin(resident.segment())
    await resident.until(lambda: len(resident.script.launched[0].images) == 2)
    order = resident.begin(resident.client.post("/api/v1/unload"))
    await resident.until(lambda: resident.coordinator.state is State.DRAINING)
    assert (await resident.segment()).headers["retry-after"] == "15"
    resident.script.inferring.set()
    assert ((await request).status_code, (await order).status_code) == (200, 200)


async def test_a_failed_load_is_repeated_after_the_load_time(resident: Resident) -> None:
    resident.coordinator.durations.record(Step.LOAD, 12.0)
    resident.script.attach_failure = LoadError("the weights are damaged")
    assert (await resident.segment()).headers["retry-after"] == "12"
