"""The forms of an instance's shape: outlines, and the lines of a YOLO label file."""

from pycocotools import mask as coco

from sam3_server.worker import outlines
from sam3_server.worker.outlines import Outline
from sam3_server.worker.protocol import Box, Mask

DECIMALS = 6


def outline(mask: Mask) -> Outline | None:
    """Return the outline of a mask, in pixels; None for a mask without a pixel."""
    return outlines.trace(coco.decode(mask.model_dump()))


def polygons(shape: Outline | None) -> list[list[float]]:
    """Return a shape as COCO writes it: one list x1, y1, x2, y2, ... for each part, with its holes joined to it."""
    return [part.astype(float).reshape(-1).tolist() for part in shape.parts()] if shape else []


def box_label(class_id: int, box: Box, width: int, height: int) -> str | None:
    """Return `class cx cy w h`, all as parts of the image's size; None for a box that has no area on the image."""
    x1, x2 = (min(max(x, 0.0), width) / width for x in (box[0], box[2]))
    y1, y2 = (min(max(y, 0.0), height) / height for y in (box[1], box[3]))
    if x1 >= x2 or y1 >= y2:
        return None
    return _line(class_id, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def polygon_label(class_id: int, shape: Outline | None, width: int, height: int) -> str | None:
    """Return `class x1 y1 x2 y2 ...`, all as parts of the image's size; None for an instance without a pixel.

    A label is one polygon, so holes and parts are joined by lines, as Ultralytics joins the parts of COCO's polygons.
    """
    if shape is None:
        return None
    return _line(class_id, (shape.whole() / (width, height)).reshape(-1).tolist())


def _line(class_id: int, numbers: list[float]) -> str:
    return " ".join([str(class_id), *(f"{number:.{DECIMALS}f}" for number in numbers)])
