"""How figures are written."""

import pytest

from demo.figures import clock, count, gauge, mib


def test_mib_are_grouped() -> None:
    assert (mib(910), mib(14000)) == ("910", "14,000")


def test_a_clock_continues_past_an_hour() -> None:
    assert [clock(seconds) for seconds in (0, 59.9, 125, 3700)] == ["00:00", "00:59", "02:05", "61:40"]


def test_one_is_singular() -> None:
    assert [count(number, "poll") for number in (0, 1, 1049)] == ["0 polls", "1 poll", "1,049 polls"]


@pytest.mark.parametrize(
    ("used", "reserved", "cells"),
    [(0, 0, (0, 0, 30)), (15360, 0, (30, 0, 0)), (14000, 450, (27, 1, 2)), (0, 450, (0, 1, 29))],
)
def test_a_gauge_has_thirty_cells(used: int, reserved: int, cells: tuple[int, int, int]) -> None:
    assert gauge(used, reserved, 15360) == "█" * cells[0] + "▒" * cells[1] + "░" * cells[2]


@pytest.mark.parametrize(("used", "reserved", "total"), [(15000, 450, 15360), (-1, 0, 10), (0, 0, 0)])
def test_parts_larger_than_the_whole_are_refused(used: int, reserved: int, total: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        gauge(used, reserved, total)
