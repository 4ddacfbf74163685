# SPDX-License-Identifier: AGPL-3.0-only
"""COCO JSON of findings, which CVAT and Label Studio import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from yolo_trainer.labelling.findings import ImageFindings, Polygon, area


def coco(findings: Iterable[ImageFindings], names: Iterable[str], classes: Sequence[str]) -> dict[str, Any]:
    """Return a COCO document.

    Args:
        findings: of each image.
        names: the images' file names, in the same order.
        classes: the names of the classes, by number; categories are numbered from 1.

    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (each, name) in enumerate(zip(findings, names, strict=True), start=1):
        images.append({"id": number, "file_name": name, "width": each.width, "height": each.height})
        for found in each.objects:
            x1, y1, x2, y2 = found.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": found.class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": _area(found.polygons) or area(found.box),
                    "segmentation": [list(polygon) for polygon in found.polygons],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _area(polygons: Iterable[Polygon]) -> float:
    """Return the area of outlines in square pixels, by the shoelace formula."""
    total = 0.0
    for polygon in polygons:
        xs, ys = polygon[::2], polygon[1::2]
        following = zip(xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
        total += abs(sum(x * y2 - x2 * y for x, y, (x2, y2) in zip(xs, ys, following, strict=True))) / 2
    return total
