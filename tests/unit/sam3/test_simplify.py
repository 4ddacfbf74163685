"""Outlines with fewer points: close to the first one, closed, and never without area."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3_server.intake.simplify import LEAST_TOLERANCE, simplified

SQUARE = [0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0]


def staircase(size: int) -> list[float]:
    """Return the outline of a triangle of pixels: a step for each row."""
    steps = [(float(x), float(y)) for row in range(size) for x, y in ((row, row), (row + 1, row))]
    return [value for x, y in [*steps, (float(size), float(size)), (0.0, float(size))] for value in (x, y)]


def distance(point: tuple[float, float], ring: list[list[float]]) -> float:
    def to_segment(a: list[float], b: list[float]) -> float:
        ab, ap = (b[0] - a[0], b[1] - a[1]), (point[0] - a[0], point[1] - a[1])
        squared = ab[0] ** 2 + ab[1] ** 2
        share = max(0.0, min(1.0, (ap[0] * ab[0] + ap[1] * ab[1]) / squared)) if squared else 0.0
        return math.hypot(ap[0] - share * ab[0], ap[1] - share * ab[1])

    return min(to_segment(a, b) for a, b in pairwise(ring))


def test_corners_stay() -> None:
    assert simplified(SQUARE, 0.001) == [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]


def test_steps_of_pixels_become_a_line() -> None:
    ring = simplified(staircase(200), 0.0)
    assert len(ring) <= 6
    assert ring[0] == ring[-1]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05])
def test_what_is_left_out_is_near(share: float) -> None:
    flat = [
        value
        for step in range(360)
        for value in (100 + 80 * math.cos(math.radians(step)), 100 + 50 * math.sin(math.radians(step)))
    ]
    ring = simplified(flat, share)
    length = sum(abs(flat[i] - flat[i - 2]) for i in range(len(flat)))
    most = max(LEAST_TOLERANCE, share * length)
    assert len(ring) < 360
    assert max(distance((x, y), ring) for x, y in zip(flat[::2], flat[1::2], strict=True)) <= most + 1e-9


def test_a_larger_share_leaves_fewer_points() -> None:
    flat = [
        value
        for step in range(0, 360, 5)
        for value in (100 + 80 * math.cos(math.radians(step)), 100 + 50 * math.sin(math.radians(step)))
    ]
    counts = [len(simplified(flat, share)) for share in (0.0, 0.005, 0.05)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("flat", [[0, 0, 1, 0, 1, 1, 0, 1], SQUARE, staircase(3)], ids=["a pixel", "square", "steps"])
def test_an_outline_keeps_three_points(flat: list[float], share: float) -> None:
    """CVAT refuses a polygon of two."""
    assert len({tuple(point) for point in simplified(flat, share)}) >= 3


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40), st.floats(0, 1))
def test_any_outline_is_closed_and_keeps_its_first_point(points: list[tuple[int, int]], share: float) -> None:
    ring = simplified([float(value) for point in points for value in point], share)
    assert ring[0] == ring[-1] == [float(points[0][0]), float(points[0][1])]
    assert len(ring) <= len(points) + 1
