"""Memory over time: what is measured, and what of it is drawn."""

import xml.etree.ElementTree as ElementTree
from itertools import count

import httpx
import pytest

from demo.memory import MemoryRecorder, Reading, plot
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


def test_nothing_can_be_drawn_of_one_reading() -> None:
    with pytest.raises(ValueError, match="two readings"):
        plot([Reading(0.0, 1)], 15_360, 14_000, 10_240)
