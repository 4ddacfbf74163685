# SPDX-License-Identifier: AGPL-3.0-only
"""Convert data sets in formats that Ultralytics has a converter for: COCO JSON and its own NDJSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_trainer.inputs import coco, ndjson
from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.job.spec import NDJSON, Task


@dataclass(frozen=True)
class Convertible:
    """A data set in another format."""

    place: Path
    """The `.ndjson` file, or the folder of a COCO data set."""
    described_by: Path
    """The file that describes it."""
    annotations: Mapping[str, Path] | None
    """The annotation file of each split, for COCO."""

    def convert(self, task: Task, target: Path, args: Mapping[str, Any]) -> Path:
        """Convert it into a folder, and return what `examine_dataset` takes. Ultralytics is imported.

        Args:
            task: what the labels are for.
            target: the folder.
            args: the job's `training.args`; an NDJSON file's images are fetched as far as they are trained on.

        Raises:
            DatasetInvalidError: the data set does not say what it must.
            TrainerError: an image could not be fetched, and may be later.

        """
        if self.annotations is None:
            return ndjson.convert(self.place, target, args.get("fraction", 1.0), args.get("split", "val"))
        return coco.convert(self.annotations, self.place, task, target)


def convertible(place: Path, task: Task) -> Convertible | None:
    """Return the data set at a place that `find_dataset` found, if it has to be converted."""
    if place.suffix.lower() == NDJSON and place.is_file():
        return Convertible(place, place, None)
    if task == "classify" or place.is_file() or (place / DESCRIPTION).is_file():
        return None
    annotations = coco.find_annotations(place, task)
    return Convertible(place, annotations["train"], annotations) if annotations else None
