"""The forms in which an instance's shape is told: outlines, and the lines of a YOLO label file."""

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from sam3_server.worker.protocol import Box, Mask

Points = npt.NDArray[np.int32]
LEAST_POINTS = 3
DECIMALS = 6


def outlines(mask: Mask) -> list[Points]:
    """Return the outer outline of each part of a mask, the largest first, as points of shape (n, 2) in pixels.

    Holes are filled. A part that is thinner than two pixels has no outline, so there may be none at all.
    """
    bits = np.ascontiguousarray(coco.decode(mask.model_dump()))
    contours, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = [np.asarray(contour, np.int32).reshape(-1, 2) for contour in contours if len(contour) >= LEAST_POINTS]
    return sorted(parts, key=lambda part: cv2.contourArea(part), reverse=True)


def polygons(parts: list[Points]) -> list[list[float]]:
    """Return outlines as COCO writes them: one list x1, y1, x2, y2, ... for each."""
    return [part.astype(float).reshape(-1).tolist() for part in parts]


def joined(parts: list[Points]) -> Points:
    """Join outlines to one closed polygon, since a YOLO label has one for each instance.

    Each part is reached from the first and left again over the same line, where the two are nearest, so that the
    polygon's area is that of the parts.
    """
    whole = parts[0]
    for part in parts[1:]:
        there, here = _nearest(whole, part)
        detour = np.concatenate([part[here:], part[: here + 1], whole[there : there + 1]])
        whole = np.concatenate([whole[: there + 1], detour, whole[there + 1 :]])
    return whole


def _nearest(whole: Points, part: Points) -> tuple[int, int]:
    """Return which point of `whole` is nearest to the middle of `part`, and which point of `part` is nearest to it."""
    there = int(np.argmin(((whole - part.mean(axis=0)) ** 2).sum(axis=1)))
    return there, int(np.argmin(((part - whole[there]) ** 2).sum(axis=1)))


def box_label(class_id: int, box: Box, width: int, height: int) -> str | None:
    """Return `class cx cy w h`, all as parts of the image's size; None for a box that has no area on the image."""
    x1, x2 = (min(max(x, 0.0), width) / width for x in (box[0], box[2]))
    y1, y2 = (min(max(y, 0.0), height) / height for y in (box[1], box[3]))
    if x1 >= x2 or y1 >= y2:
        return None
    return _line(class_id, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def polygon_label(class_id: int, parts: list[Points], width: int, height: int) -> str | None:
    """Return `class x1 y1 x2 y2 ...`, all as parts of the image's size; None for an instance without an outline."""
    if not parts:
        return None
    return _line(class_id, (joined(parts) / (width, height)).reshape(-1).tolist())


def _line(class_id: int, numbers: list[float]) -> str:
    return " ".join([str(class_id), *(f"{number:.{DECIMALS}f}" for number in numbers)])
