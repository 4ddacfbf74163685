# SPDX-License-Identifier: AGPL-3.0-only
"""Lines of YOLO label files: written from findings, and read where labels exist already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from yolo_trainer.inputs.labels import LabelRules, first_problem
from yolo_trainer.job.labelling import LabelledTask
from yolo_trainer.labelling.findings import FoundObject, ImageFindings, Polygon

_BOX_COLUMNS = 5


def lines(findings: ImageFindings, task: LabelledTask) -> str:
    """Return the content of an image's label file; empty if it has no objects."""
    rows = (_row(found, findings, task) for found in findings.objects)
    return "".join(f"{row}\n" for row in rows if row)


def kept(image: str, size: tuple[int, int], text: str, rules: LabelRules) -> ImageFindings | str:
    """Return the labels that an image has already, or what is wrong with them.

    Args:
        image: the image's name.
        size: its width and height in pixels.
        text: the content of its label file.
        rules: what the label file may hold.

    """
    problem = first_problem(text, rules)
    if problem:
        return problem
    width, height = size
    objects = tuple(_read(line.split(), width, height) for line in text.splitlines() if line.strip())
    return ImageFindings(image, width, height, objects, kept=True)


def _row(found: FoundObject, findings: ImageFindings, task: LabelledTask) -> str:
    width, height = findings.width, findings.height
    if task == "detect":
        x1, y1, x2, y2 = found.box
        figures = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    elif task == "segment":
        figures = list(_shares(_joined(found.polygons), width, height))
    else:
        figures = list(_shares(_rotated_box(found.polygons), width, height))
    return " ".join([str(found.class_id), *(f"{min(1.0, max(0.0, each)):.6f}" for each in figures)]) if figures else ""


def _shares(polygon: Sequence[float], width: int, height: int) -> Iterator[float]:
    for place, value in enumerate(polygon):
        yield value / (height if place % 2 else width)


def _joined(polygons: Sequence[Polygon]) -> Sequence[float]:
    """Return one polygon; parts are joined by lines, as Ultralytics joins those of COCO."""
    if len(polygons) < 2:
        return polygons[0] if polygons else ()
    from ultralytics.data.converter import merge_multi_segment

    return [float(value) for part in merge_multi_segment(list(map(list, polygons))) for value in part.ravel()]


def _rotated_box(polygons: Sequence[Polygon]) -> Sequence[float]:
    """Return the four corners of the smallest box around an outline, at any angle."""
    import cv2

    points = np.array([value for polygon in polygons for value in polygon], dtype=np.float32).reshape(-1, 2)
    if not len(points):
        return ()
    return [float(value) for value in cv2.boxPoints(cv2.minAreaRect(points)).ravel()]


def _read(row: list[str], width: int, height: int) -> FoundObject:
    figures = [float(value) for value in row[1:]]
    if len(row) == _BOX_COLUMNS:
        x, y, across, down = figures
        corners = [x - across / 2, y - down / 2, x + across / 2, y + down / 2]
        x1, y1, x2, y2 = (value * (height if place % 2 else width) for place, value in enumerate(corners))
        return FoundObject(int(float(row[0])), 1.0, (x1, y1, x2, y2), ((x1, y1, x2, y1, x2, y2, x1, y2),))
    polygon = tuple(value * (height if place % 2 else width) for place, value in enumerate(figures))
    xs, ys = polygon[::2], polygon[1::2]
    return FoundObject(int(float(row[0])), 1.0, (min(xs), min(ys), max(xs), max(ys)), (polygon,))
