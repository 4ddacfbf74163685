"""Memory over time: what is measured, and what of it is drawn."""

import xml.etree.ElementTree as ElementTree
from itertools import count

import httpx
import pytest

from demo.memory import MemoryRecorder, Moment, Reading, plot
from devcluster.waiting import eventually


def test_a_measurement_that_fails_is_left_out() -> None:
    numbers = count()

    def measure() -> int:
        number = next(numbers)
        if number == 0:
            raise httpx.ConnectError("not yet")
        return number

    with MemoryRecorder(measure) as memory:
        eventually(lambda: len(memory.readings) >= 2, "two readings")
    assert [reading.used for reading in memory.readings[:2]] == [1, 2]


def test_each_owners_memory_is_drawn_in_its_colour() -> None:
    used = [0, 14_000, 14_000, 0, 10_240, 10_240, 0, 14_000]
    drawn = plot([Reading(float(at), mib) for at, mib in enumerate(used)], 15_360, 14_000, 10_240)
    rectangles = ElementTree.fromstring(drawn).findall(".//{*}rect")
    bars = [each for each in rectangles if each.get("class") in {"sam3", "yolo"}]
    in_key, shown = bars[:2], bars[2:]
    assert [each.get("class") for each in in_key] == ["sam3", "yolo"]
    assert [each.get("class") for each in shown] == ["sam3", "yolo", "sam3"]
    first, second, _ = (float(each.get("height", "0")) for each in shown)
    assert first / second == pytest.approx(14_000 / 10_240, rel=0.01)


def test_the_job_and_the_loads_of_sam3_are_marked() -> None:
    used = [0, 14_000, 14_000, 0, 10_240, 10_240, 0, 14_000]
    readings = [Reading(10.0 * at, mib) for at, mib in enumerate(used)]
    drawn = plot(readings, 15_360, 14_000, 10_240, [Moment(25.0, "job applied")])
    labels = ElementTree.fromstring(drawn).findall(".//{*}text[@class='text moment-label']")
    assert [each.text for each in labels] == ["SAM3 loaded", "job applied", "SAM3 unloaded", "SAM3 loaded"]
    lines = ElementTree.fromstring(drawn).findall(".//{*}path[@class='moment']")
    assert len(lines) == len(labels)


def test_a_load_seen_late_precedes_the_job_that_followed() -> None:
    readings = [Reading(0.0, 0), Reading(0.5, 14_000), Reading(50.0, 14_000)]
    drawn = plot(readings, 15_360, 14_000, 10_240, [Moment(0.4, "job applied")])
    labels = ElementTree.fromstring(drawn).findall(".//{*}text[@class='text moment-label']")
    assert [each.text for each in labels] == ["SAM3 loaded", "job applied"]


def test_labels_of_moments_never_overlap() -> None:
    moments = [Moment(4.0 + at / 10, f"moment {at}") for at in range(5)]
    readings = [Reading(0.0, 0), Reading(100.0, 0)]
    labels = ElementTree.fromstring(plot(readings, 15_360, 14_000, 10_240, moments)).findall(".//{*}text")
    placed = [each for each in labels if "moment-label" in (each.get("class") or "")]
    assert len(placed) == 3, "one in each row; the others are lines alone"
    assert len({each.get("y") for each in placed}) == 3


def test_a_moment_is_recorded_with_its_label() -> None:
    memory = MemoryRecorder(lambda: 1)
    memory.mark("job applied")
    assert [each.label for each in memory.moments] == ["job applied"]


def test_nothing_can_be_drawn_of_one_reading() -> None:
    with pytest.raises(ValueError, match="two readings"):
        plot([Reading(0.0, 1)], 15_360, 14_000, 10_240)
