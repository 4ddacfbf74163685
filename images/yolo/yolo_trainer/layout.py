# SPDX-License-Identifier: AGPL-3.0-only
"""Finds the data set in a folder that was fetched: archives are packed with or without a folder around them."""

from __future__ import annotations

from pathlib import Path

import yaml

from yolo_trainer.dataset import DESCRIPTION
from yolo_trainer.job import Task
from yolo_trainer.outcome import DatasetInvalidError

DEPTH = 3
"""How many folders with nothing else in them are stepped through."""
SHOWN = 8


def find_dataset(folder: Path, inside: Path | None, task: Task) -> Path:
    """Return the data set's folder or YAML file; `inside` is where the job says that it lies.

    Raises:
        DatasetInvalidError: there is none, or more than one.

    """
    if inside is not None:
        if not (folder / inside).exists():
            raise DatasetInvalidError(f"dataset.path is {inside}, and dataset.uri holds no such thing: {_list(folder)}")
        return folder / inside
    place = folder
    for _ in range(DEPTH):
        found = _here(place, task)
        if found is not None:
            return found
        entries = [entry for entry in place.iterdir() if not entry.name.startswith(".")]
        if len(entries) != 1 or not entries[0].is_dir():
            break
        place = entries[0]
    wanted = "train/<class>/ and val/<class>/" if task == "classify" else DESCRIPTION
    raise DatasetInvalidError(
        f"dataset.uri holds no {wanted} at its top: {_list(folder)}; say with dataset.path where it is"
    )


def _here(place: Path, task: Task) -> Path | None:
    if task == "classify":
        return place if (place / "train").is_dir() else None
    if (place / DESCRIPTION).is_file():
        return place
    described = [file for file in sorted(place.glob("*.y*ml")) if _describes(file)]
    if len(described) > 1:
        raise DatasetInvalidError(
            f"dataset.uri holds {', '.join(file.name for file in described)}: say with dataset.path which one is meant"
        )
    return described[0] if described else None


def _describes(file: Path) -> bool:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and "train" in content


def _list(folder: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"it has {', '.join(names[:SHOWN]) or 'nothing'}{more}"
