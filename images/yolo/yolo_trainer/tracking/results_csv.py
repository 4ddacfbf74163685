# SPDX-License-Identifier: AGPL-3.0-only
"""The rows of Ultralytics' results.csv: the figures that are recorded, and recorded again after a failure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_trainer.training.checkpoint_store import RESULTS

_NO_FIGURES = ("epoch", "time")


@dataclass(frozen=True)
class EpochFigures:
    """The figures of one epoch by Ultralytics' own names; epochs count from 1."""

    epoch: int
    values: Mapping[str, float]


def read_figures(folder: Path, epochs: int) -> list[EpochFigures]:
    """Return the figures of the first `epochs` epochs from the results.csv in a folder; none where there is no file.

    Raises:
        OSError: the file exists and cannot be read.

    """
    try:
        text = (folder / RESULTS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found: dict[int, EpochFigures] = {}
    for row in csv.DictReader(text.splitlines()):
        figures = _figures(row)
        if figures is not None and figures.epoch <= epochs:
            found[figures.epoch] = figures
    return [found[epoch] for epoch in sorted(found)]


def _figures(row: Mapping[str | None, str | None]) -> EpochFigures | None:
    """Return the figures of one row; None for one that is not complete."""
    cells = {name.strip(): cell for name, cell in row.items() if name is not None}
    try:
        values = {name: float(cell) for name, cell in cells.items() if cell is not None}
        if values.keys() != cells.keys():
            return None
        return EpochFigures(
            int(values["epoch"]), {name: value for name, value in values.items() if name not in _NO_FIGURES}
        )
    except (KeyError, ValueError):
        return None
