# SPDX-License-Identifier: AGPL-3.0-only
"""Ultralytics' NDJSON: one file that lists images, by URL or in a folder beside it; Ultralytics' converter reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolo_trainer.errors import DatasetInvalidError, TrainerError
from yolo_trainer.text import plain


def convert(file: Path, target: Path, fraction: Any = 1.0, split: str = "val") -> Path:
    """Convert an NDJSON file, fetching its images, and return the new `data.yaml`, or the folder for classification.

    What is there from an earlier attempt is not fetched again. Ultralytics is imported.

    Args:
        file: the NDJSON file.
        target: a folder to convert into.
        fraction: share of the images, as the training argument of that name.
        split: what the training validates on.

    Raises:
        DatasetInvalidError: the file does not say what it must, or an image beside it is missing.
        TrainerError: an image could not be fetched, and may be later.

    """
    from ultralytics.data.converter import convert_ndjson_to_yolo

    try:
        return Path(asyncio.run(convert_ndjson_to_yolo(file, target, fraction, split=split)))
    except RuntimeError as error:  # not all images are there
        kind = TrainerError if any(record.get("url") for record in _records(file)) else DatasetInvalidError
        raise kind(f"{file.name}: {plain(str(error)).replace(str(file), file.name)}; the log names them") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetInvalidError(
            f"{file.name} is not Ultralytics NDJSON ({type(error).__name__}: {plain(str(error))}): its first line is "
            "the data set with task and class_names, each further line an image with file, split and annotations"
        ) from error


def _records(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line) if line.strip() else None
            if isinstance(record, dict) and record.get("type") != "dataset":
                yield record
