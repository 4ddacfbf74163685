"""Outlines and label lines: pycocotools draws from them the mask that they came from."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
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


def polygons(bits: Bits) -> list[list[float]]:
    return shapes.polygons(shapes.outline(masked(bits)))


def drawn(polygons: list[list[float]], bits: Bits) -> Bits:
    """What pycocotools makes of an annotation's `segmentation` on an image of the mask's size."""
    if not polygons:
        return np.zeros_like(bits)
    rle: Any = coco.merge(coco.frPyObjects(polygons, *bits.shape))
    return np.asarray(coco.decode(rle), np.uint8)


def labelled(bits: Bits) -> list[float] | None:
    """Return a label's polygon in pixels, as a reader of the label file has it."""
    height, width = bits.shape
    line = shapes.polygon_label(7, shapes.outline(masked(bits)), width, height)
    if line is None:
        return None
    class_id, *numbers = line.split()
    assert class_id == "7"
    points = np.array([float(number) for number in numbers]).reshape(-1, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    flat: list[float] = (points * (width, height)).reshape(-1).tolist()
    return flat


def of(*rows: str) -> Bits:
    return np.array([[cell == "#" for cell in row] for row in rows], np.uint8)


DIAGONAL = np.eye(9, dtype=np.uint8)
RING = of("######", "#....#", "#.##.#", "#....#", "######")
ODD_SHAPES = {
    "one pixel": of("...", ".#.", "..."),
    "all": np.ones((4, 5), np.uint8),
    "one row": of("....", "####"),
    "one column": of("#.", "#.", "#."),
    "diagonal": DIAGONAL,
    "other diagonal": DIAGONAL[:, ::-1].copy(),
    "checkers": np.indices((7, 8)).sum(axis=0).astype(np.uint8) % 2,
    "ring with a part in it": RING,
    "holes that touch": of("#####", "#.###", "##.##", "#####"),
    "holes at corners": of("####.", "#.##.", "##.##", ".####"),
    "a hole and a part touch": of("####.", "#.##.", "###..", "....#"),
    "parts far apart": of("#.......", "........", ".......#", "..##...."),
    "cross": of("..#..", "..#..", "#####", "..#.."),
}


@pytest.mark.parametrize("name", ODD_SHAPES)
def test_polygons_are_the_mask(name: str) -> None:
    bits = ODD_SHAPES[name]
    assert np.array_equal(drawn(polygons(bits), bits), bits)


@pytest.mark.parametrize("name", ODD_SHAPES)
def test_a_label_is_the_mask(name: str) -> None:
    bits = ODD_SHAPES[name]
    polygon = labelled(bits)
    assert polygon is not None
    assert np.array_equal(drawn([polygon], bits), bits)


SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))


@given(st_numpy.arrays(np.uint8, SIZES, elements=st.integers(0, 1)))
def test_any_mask_is_drawn_again_exactly(bits: Bits) -> None:
    assert np.array_equal(drawn(polygons(bits), bits), bits)
    polygon = labelled(bits)
    assert (polygon is not None) == bits.any()
    assert np.array_equal(drawn([polygon] if polygon else [], bits), bits)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(16, 400), st.integers(1, 6))
def test_shapes_like_those_of_a_model_are_drawn_again_exactly(seed: int, size: int, blur: int) -> None:
    chance = np.random.default_rng(seed)
    noise = chance.normal(size=(max(2, size // (8 * blur)), max(2, size // (6 * blur)))).astype(np.float32)
    bits = (cv2.resize(noise, (size, size * 3 // 4), interpolation=cv2.INTER_CUBIC) > 0.4).astype(np.uint8)
    assert np.array_equal(drawn(polygons(bits), bits), bits)
    polygon = labelled(bits)
    assert np.array_equal(drawn([polygon] if polygon else [], bits), bits)


@given(st_numpy.arrays(np.uint8, SIZES, elements=st.integers(0, 1)))
def test_there_is_one_polygon_for_each_part(bits: Bits) -> None:
    count, labels = cv2.connectedComponents(bits, connectivity=8)
    parts = [drawn([polygon], bits) for polygon in polygons(bits)]
    assert sorted(part.tobytes() for part in parts) == sorted(
        (labels == label).astype(np.uint8).tobytes() for label in range(1, count)
    )
    sizes = [int(part.sum()) for part in parts]
    assert sizes == sorted(sizes, reverse=True)


def test_a_rectangle_is_its_four_corners_in_pixels() -> None:
    bits = np.zeros((20, 30), np.uint8)
    bits[5:15, 10:25] = 1
    assert polygons(bits) == [[10.0, 5.0, 25.0, 5.0, 25.0, 15.0, 10.0, 15.0]]


def test_a_ring_is_one_polygon_with_a_bridge_to_its_hole() -> None:
    bits = np.ones((6, 8), np.uint8)
    bits[2:4, 3:5] = 0
    (polygon,) = polygons(bits)
    assert len(polygon) == 2 * (4 + 4 + 2)


def test_a_mask_without_a_pixel_has_no_outline_and_no_label() -> None:
    bits = np.zeros((40, 60), np.uint8)
    assert polygons(bits) == []
    assert labelled(bits) is None


def test_readers_that_draw_with_opencv_see_the_mask_and_thin_bridges() -> None:
    """Ultralytics does: it draws the edge as well, so a part grows by a row and a column, and a bridge is a line."""
    bits = np.zeros((80, 120), np.uint8)
    bits[10:30, 10:40] = bits[50:70, 60:100] = 1
    bits[15:25, 20:30] = 0
    polygon = labelled(bits)
    assert polygon is not None
    points = np.array(polygon).reshape(-1, 2).round().astype(np.int32)
    seen = np.asarray(cv2.fillPoly(np.zeros_like(bits), [points], 1), np.uint8)
    assert not np.any(bits & ~seen & 1)
    grown = np.asarray(cv2.dilate(bits, np.ones((2, 2), np.uint8), anchor=(1, 1)), np.uint8)
    bridges = int((seen & ~grown & 1).sum())
    assert 0 < bridges <= 80, "no more than the one line between the two parts"
    assert seen[17:24, 22:29].sum() == 0, "the hole is one"


def test_a_boxs_label_is_its_middle_and_size() -> None:
    assert shapes.box_label(2, (15.0, 10.0, 45.0, 20.0), 60, 40) == "2 0.500000 0.375000 0.500000 0.250000"


def test_a_boxs_label_stays_on_the_image() -> None:
    assert shapes.box_label(0, (-6.0, -1.0, 30.0, 44.0), 60, 40) == "0 0.250000 0.500000 0.500000 1.000000"
    assert shapes.box_label(0, (60.0, 0.0, 70.0, 40.0), 60, 40) is None
