# SPDX-License-Identifier: AGPL-3.0-only
"""What a label file must look like. Ultralytics drops pictures whose labels it cannot read; a job should fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolo_trainer.job import Task

TOLERANCE = 0.01
"""How far outside the picture Ultralytics lets a coordinate lie, as a share of its width or height."""
BOX_COLUMNS = 5


@dataclass(frozen=True)
class LabelRules:
    """What the rows of a data set's label files may hold."""

    task: Task
    classes: int
    keypoints: tuple[int, int] = (0, 0)
    """Number of keypoints and figures for each (2, or 3 with visibility); for the task `pose`."""
    single_class: bool = False
    """With `single_cls` every object counts as one class, whatever its number."""
    names: tuple[str, ...] = ()
    """The classes' names, where the data set gives them."""


def first_problem(text: str, rules: LabelRules) -> str | None:
    """Return what is wrong with a label file, naming the line, or None. An empty file is right: nothing is there."""
    widths = set()
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if not columns:
            continue
        problem = _row_problem(columns, rules)
        if problem:
            return f"line {number}: {problem}"
        widths.add(len(columns) == BOX_COLUMNS)
    if len(widths) > 1 and rules.task != "pose":
        return "boxes (5 columns) and polygons are mixed: use one of them throughout the file"
    return None


def _row_problem(columns: list[str], rules: LabelRules) -> str | None:
    try:
        values = [float(column) for column in columns]
    except ValueError:
        return f"'{' '.join(columns)[:60]}' is not a row of numbers"
    if not all(math.isfinite(value) for value in values):
        return "a figure is not finite"
    return _shape_problem(len(values), rules) or _class_problem(values[0], rules) or _place_problem(values, rules)


def _shape_problem(columns: int, rules: LabelRules) -> str | None:
    polygon = columns >= 7 and columns % 2 == 1
    count, dimensions = rules.keypoints
    wanted, fits = {
        "detect": ("5 columns (class x y width height)", columns == BOX_COLUMNS or polygon),
        "segment": ("a class and at least 3 points (x y)", polygon),
        "obb": ("9 columns (class and 4 corners x y)", polygon and columns >= 9),
        "pose": (
            f"{BOX_COLUMNS + count * dimensions} columns (class, box, {count} keypoints of {dimensions} figures)",
            columns == BOX_COLUMNS + count * dimensions,
        ),
    }[rules.task]
    return None if fits else f"the task {rules.task} needs {wanted}, found {columns}"


def _class_problem(value: float, rules: LabelRules) -> str | None:
    if value != int(value) or value < 0:
        return f"class {value:g} is not a whole number from 0 up"
    if value >= rules.classes and not rules.single_class:
        return f"class {value:g} is not in names, which go from 0 to {rules.classes - 1}"
    return None


def _place_problem(values: list[float], rules: LabelRules) -> str | None:
    coordinates = values[1:]
    if rules.task == "pose":
        coordinates = values[1:BOX_COLUMNS] + _keypoint_places(values[BOX_COLUMNS:], rules.keypoints[1])
    outside = [value for value in coordinates if not -TOLERANCE <= value <= 1 + TOLERANCE]
    if outside:
        return f"coordinate {outside[0]:g} is outside the picture: they are shares of its width and height, from 0 to 1"
    if len(values) == BOX_COLUMNS and min(values[3:]) < 0:
        return "a box has a negative width or height"
    return None


def _keypoint_places(values: list[float], dimensions: int) -> list[float]:
    """Return x and y of each keypoint, without its visibility."""
    return [value for index, value in enumerate(values) if index % dimensions < 2]
