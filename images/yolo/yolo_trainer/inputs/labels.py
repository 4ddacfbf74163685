# SPDX-License-Identifier: AGPL-3.0-only
"""Check label files. Ultralytics drops images whose labels it cannot read; here the job fails.

The rules are those of Ultralytics' `verify_image_label`, whose figures are single precision.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolo_trainer.job.spec import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Figures = NDArray[np.float32]

TOLERANCE = 0.01
"""How far outside the image Ultralytics lets a box or a keypoint lie, as a share of its width or height."""
BOX_COLUMNS = 5
LONGEST_SHOWN = 60


@dataclass(frozen=True)
class LabelRules:
    """What the rows of a data set's label files may hold."""

    task: Task
    classes: int
    keypoints: tuple[int, int] = (0, 0)
    """Number of keypoints and figures for each (2, or 3 with visibility); other tasks than `pose` drop them."""
    single_class: bool = False
    """With `single_cls` every object counts as one class, whatever its number."""
    names: tuple[str, ...] = ()
    """The classes' names, where the data set gives them."""

    @property
    def pose_columns(self) -> int:
        """Columns of a row with keypoints."""
        return BOX_COLUMNS + self.keypoints[0] * self.keypoints[1]


@dataclass(frozen=True)
class Labels:
    """The content of a label file."""

    problem: str | None
    objects: Counter[int]
    """Objects of each class."""


def read_labels(text: str, rules: LabelRules) -> Labels:
    """Read a label file; the first problem names the line. An empty file is valid: the image contains no objects."""
    rows = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if rules.task != "pose" and rules.keypoints[0]:
        rows = [(number, row[:BOX_COLUMNS] if len(row) == rules.pose_columns else row) for number, row in rows]
    polygons = rules.task != "pose" and any(len(row) > BOX_COLUMNS + 1 for _, row in rows)
    if polygons and any(len(row) == BOX_COLUMNS for _, row in rows):
        return Labels("boxes (5 columns) and polygons are mixed: use one of them throughout the file", Counter())
    objects = Counter[int]()
    for number, row in rows:
        figures = _figures(row)
        problem = figures if isinstance(figures, str) else _row_problem(figures, polygons, rules)
        if problem:
            return Labels(f"line {number}: {problem}", Counter())
        objects[int(float(row[0]))] += 1
    return Labels(None, objects)


def first_problem(text: str, rules: LabelRules) -> str | None:
    """Return what is wrong with a label file, or None."""
    return read_labels(text, rules).problem


def _figures(row: list[str]) -> Figures | str:
    try:
        figures = np.array(row, dtype=np.float32)
    except ValueError:
        return f"'{' '.join(row)[:LONGEST_SHOWN]}' is not a row of numbers"
    return figures if np.isfinite(figures).all() else "a figure is not finite"


def _row_problem(row: Figures, polygons: bool, rules: LabelRules) -> str | None:
    return _shape_problem(len(row), polygons, rules) or _class_problem(row[0], rules) or _place_problem(row, rules)


def _shape_problem(columns: int, polygons: bool, rules: LabelRules) -> str | None:
    count, dimensions = rules.keypoints
    polygon = polygons and columns > BOX_COLUMNS + 1 and columns % 2 == 1
    wanted, fits = {
        "detect": ("5 columns (class x y width height)", columns == BOX_COLUMNS or polygon),
        "segment": ("a class and at least 3 points (x y)", polygon),
        "obb": ("9 columns (class and 4 corners x y)", polygon),
        "pose": (
            f"{rules.pose_columns} columns (class, box, {count} keypoints of {dimensions} figures)",
            columns == rules.pose_columns,
        ),
    }[rules.task]
    return None if fits else f"the task {rules.task} needs {wanted}, found {columns}"


def _class_problem(value: np.float32, rules: LabelRules) -> str | None:
    if value % 1 != 0 or value < 0:
        return f"class {value:g} is not a whole number from 0 up"
    if value >= rules.classes and not rules.single_class:
        return f"class {value:g} is not in names, which go from 0 to {rules.classes - 1}"
    return None


def _place_problem(row: Figures, rules: LabelRules) -> str | None:
    """Check coordinates: those of a polygon by the box around it, as Ultralytics does."""
    if rules.task == "pose":
        box, places = row[1:BOX_COLUMNS], _keypoint_places(row[BOX_COLUMNS:], rules.keypoints[1])
        low, high, shown = row, places, np.concatenate((box, places))
    else:
        low = high = box = row[1:] if len(row) == BOX_COLUMNS else _box_around(row[1:])
        shown = row[1:]
    if low.min() < -TOLERANCE or high.max() > 1 + TOLERANCE:
        farthest = shown[np.abs(shown - 0.5).argmax()]
        return f"coordinate {farthest:g} is outside the image: they are shares of its width and height, from 0 to 1"
    return "a box has a negative width or height" if box[2:].min() < 0 else None


def _box_around(points: Figures) -> Figures:
    """Return the centre, width and height of a polygon's box."""
    x, y = points[0::2], points[1::2]
    left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dtype=np.float32)


def _keypoint_places(figures: Figures, dimensions: int) -> Figures:
    """Return x and y of each keypoint, without its visibility."""
    return figures.reshape(-1, dimensions)[:, :2].ravel()
