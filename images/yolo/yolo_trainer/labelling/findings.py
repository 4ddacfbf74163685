# SPDX-License-Identifier: AGPL-3.0-only
"""What was found on an image. Coordinates are pixels of the upright image, from its top left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2."""
Polygon = tuple[float, ...]
"""x, y of each corner in turn, as in COCO."""

SAME = 0.8
"""Intersection over union from which two boxes show one object."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object, with its outline: one polygon for each connected part."""

    class_id: int
    score: float
    box: Box
    polygons: tuple[Polygon, ...]

    def mirrored(self, width: int) -> FoundObject:
        """Return the object on the image whose left and right are exchanged."""
        x1, y1, x2, y2 = self.box
        polygons = tuple(
            tuple(value if place % 2 else width - value for place, value in enumerate(polygon))
            for polygon in self.polygons
        )
        return replace(self, box=(width - x2, y1, width - x1, y2), polygons=polygons)


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """The objects on one image."""

    image: str
    """Path relative to the folder of images."""
    width: int
    height: int
    objects: tuple[FoundObject, ...]
    second: tuple[FoundObject, ...] | None = None
    """What the second pass found, in the coordinates of the first; None without one."""
    kept: bool = False
    """True if the labels were there before, and were not asked for."""

    def written(self) -> dict[str, Any]:
        """Return the findings as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, content: dict[str, Any]) -> ImageFindings:
        """Return the findings of JSON that `written` made."""
        second = content["second"]
        objects, repeated = _objects(content["objects"]), None if second is None else _objects(second)
        return cls(content["image"], content["width"], content["height"], objects, repeated, content["kept"])


@dataclass(frozen=True)
class ReviewedLabel:
    """A label, or an object that may lack one, with how certain it is."""

    image: str
    found: FoundObject
    certainty: float
    """0 to 1."""
    doubts: tuple[str, ...] = field(default=())
    missing: bool = False
    """True if no label was written: only the second pass found the object."""


def _objects(content: Sequence[dict[str, Any]]) -> tuple[FoundObject, ...]:
    return tuple(
        FoundObject(
            each["class_id"], each["score"], _box(each["box"]), tuple(tuple(polygon) for polygon in each["polygons"])
        )
        for each in content
    )


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area(one) + area(other) - width * height)


def area(box: Box) -> float:
    """Return the area of a box, in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def without_repeats(objects: Sequence[FoundObject]) -> tuple[FoundObject, ...]:
    """Return the objects without those that another prompt of the same class found with a better score."""
    kept: list[FoundObject] = []
    for each in sorted(objects, key=lambda found: -found.score):
        if not any(each.class_id == one.class_id and overlap(each.box, one.box) >= SAME for one in kept):
            kept.append(each)
    return tuple(kept)
