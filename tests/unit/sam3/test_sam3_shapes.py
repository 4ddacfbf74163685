"""Outlines and label lines: drawn again, they are the mask they came from."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from pycocotools import mask as coco

from sam3_server.worker import shapes
from sam3_server.worker.protocol import Mask

Bits = npt.NDArray[np.uint8]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")


def masked(bits: Bits) -> Mask:
    rle = coco.encode(np.asfortranarray(bits))
    return Mask(size=bits.shape, counts=rle["counts"].decode())


def drawn(bits: Bits, parts: list[shapes.Points]) -> Bits:
    return np.asarray(cv2.fillPoly(np.zeros_like(bits), parts, 1), np.uint8)


def squares(*corners: tuple[int, int]) -> Bits:
    bits = np.zeros((40, 60), np.uint8)
    for x, y in corners:
        bits[y : y + 10, x : x + 10] = 1
    return bits


def test_a_rectangle_is_four_points_in_pixels() -> None:
    bits = np.zeros((20, 30), np.uint8)
    bits[5:15, 10:25] = 1
    (polygon,) = shapes.polygons(shapes.outlines(masked(bits)))
    points = set(zip(polygon[::2], polygon[1::2], strict=True))
    assert points == {(10.0, 5.0), (10.0, 14.0), (24.0, 14.0), (24.0, 5.0)}


def test_parts_come_largest_first() -> None:
    bits = squares((0, 0), (40, 20))
    bits[20:35, 40:55] = 1
    areas = [cv2.contourArea(part) for part in shapes.outlines(masked(bits))]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 2


def test_holes_are_filled() -> None:
    bits = squares((5, 5))
    whole = bits.copy()
    bits[8:12, 8:12] = 0
    assert np.array_equal(drawn(bits, shapes.outlines(masked(bits))), whole)


@given(st_numpy.arrays(np.uint8, (6, 7), elements=st.integers(0, 1)))
def test_outlines_cover_all_that_is_thick(coarse: Bits) -> None:
    bits = np.kron(coarse, np.ones((4, 4), np.uint8))
    again = drawn(bits, shapes.outlines(masked(bits)))
    assert not np.any(bits & ~again & 1)
    every_point, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = drawn(bits, [np.asarray(contour, np.int32) for contour in every_point])
    assert np.array_equal(again, filled)


@pytest.mark.parametrize("bits", [squares(), np.eye(40, dtype=np.uint8)[:, :1]], ids=["nothing", "one pixel"])
def test_what_has_no_area_has_no_outline_and_no_label(bits: Bits) -> None:
    parts = shapes.outlines(masked(bits))
    assert parts == []
    assert shapes.polygon_label(0, parts, 60, 40) is None


@pytest.mark.parametrize("corners", [[(3, 3)], [(3, 3), (40, 20)], [(0, 0), (40, 0), (20, 28)]])
def test_a_label_is_one_polygon_that_covers_every_part(corners: list[tuple[int, int]]) -> None:
    bits = squares(*corners)
    parts = shapes.outlines(masked(bits))
    line = shapes.polygon_label(7, parts, 60, 40)
    assert line is not None
    class_id, *numbers = line.split()
    points = np.array([float(number) for number in numbers]).reshape(-1, 2) * (60, 40)
    again = drawn(bits, [points.round().astype(np.int32)])
    assert class_id == "7"
    assert np.array_equal(again & bits, bits)
    bridges = int((again & ~bits & 1).sum())
    assert bridges <= 60 * (len(corners) - 1), "the parts are joined by lines, nothing more"


def test_a_boxs_label_is_its_middle_and_size() -> None:
    assert shapes.box_label(2, (15.0, 10.0, 45.0, 20.0), 60, 40) == "2 0.500000 0.375000 0.500000 0.250000"


def test_a_boxs_label_stays_on_the_image() -> None:
    assert shapes.box_label(0, (-6.0, -1.0, 30.0, 44.0), 60, 40) == "0 0.250000 0.500000 0.500000 1.000000"
    assert shapes.box_label(0, (60.0, 0.0, 70.0, 40.0), 60, 40) is None
