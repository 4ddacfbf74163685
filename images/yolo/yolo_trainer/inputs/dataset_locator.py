# SPDX-License-Identifier: AGPL-3.0-only
"""Find the data set in a folder: archives and volumes may have a folder around it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs import coco, foreign_formats
from yolo_trainer.inputs.description import DESCRIPTION, read_yaml
from yolo_trainer.job.spec import NDJSON, Task
from yolo_trainer.storage.archive import is_archive
from yolo_trainer.text import EncodingError

DEPTH = 3
"""How many folders without other content are entered."""
SHOWN = 8
YAML_SUFFIXES = (".yaml", ".yml")


def find_dataset(folder: Path, inside: Path | None, task: Task) -> Path:
    """Return the data set in what `dataset.uri` named; `inside` is the job's `dataset.path`, relative to it.

    The result is a YAML file, a folder with `data.yaml`, a folder of class folders, an `.ndjson` file, or the folder of
    a COCO data set.

    Raises:
        DatasetInvalidError: there is none, or more than one.

    """
    if inside is None:
        return _found(folder, task, "dataset.uri")
    if not (folder / inside).exists():
        raise DatasetInvalidError(f"dataset.path is {inside}, and dataset.uri holds no such thing: {_list(folder)}")
    return dataset_on_volume(folder / inside, task)


def dataset_on_volume(place: Path, task: Task) -> Path:
    """Return the data set at `dataset.path`, which names a file, or a folder that is searched.

    Raises:
        DatasetInvalidError: there is none, or more than one.

    """
    if place.is_dir():
        return _found(place, task, "dataset.path")
    if not place.exists():
        raise DatasetInvalidError(
            f"{place} does not exist: dataset.path must be a folder that holds {DESCRIPTION}, or a YAML file"
        )
    if is_archive(place.name):
        raise DatasetInvalidError(
            f"dataset.path is the archive {place}: unpack it, or give dataset.uri {place.as_uri()}"
        )
    if place.suffix.lower() not in (*YAML_SUFFIXES, NDJSON):
        raise DatasetInvalidError(
            f"dataset.path is the file {place.name}: name a YAML file, an {NDJSON} file, or the data set's folder"
        )
    return place


def _found(folder: Path, task: Task, field: str) -> Path:
    place = folder
    for _ in range(DEPTH):
        found = _here(place, task, field)
        if found is not None:
            return found
        entries = [entry for entry in place.iterdir() if not entry.name.startswith(".")]
        if len(entries) != 1 or not entries[0].is_dir():
            break
        place = entries[0]
    deeper = [] if task == "classify" else [file for file in _yaml_files(place.rglob("*")) if _describes(file)]
    if len(deeper) == 1:
        return deeper[0]
    if deeper:
        raise DatasetInvalidError(
            f"{field} holds {', '.join(str(file.relative_to(folder)) for file in deeper[:SHOWN])}: say with "
            "dataset.path which one is meant"
        )
    raise DatasetInvalidError(_missing(folder, place, task, field))


def _missing(folder: Path, place: Path, task: Task, field: str) -> str:
    wanted = "train/<class>/ and val/<class>/" if task == "classify" else DESCRIPTION
    foreign = foreign_formats.foreign_format(place, task)
    advice = foreign or "say with dataset.path where it is"
    if task == "classify" and foreign is None:
        advice += f", or put the images into {wanted}"
    return f"{field} holds no {wanted} at its top: {_list(folder)}; {advice}"


def _here(place: Path, task: Task, field: str) -> Path | None:
    if task == "classify" and (place / "train").is_dir():
        return place
    if task != "classify":
        if (place / DESCRIPTION).is_file():
            return place
        described = [file for file in _yaml_files(place.iterdir()) if _describes(file)]
        named_alike = [file for file in described if file.stem == place.name]
        if len(described) > 1 and len(named_alike) != 1:
            raise DatasetInvalidError(
                f"{field} holds {', '.join(file.name for file in described)}: say with dataset.path which one is meant"
            )
        if described:
            return (named_alike or described)[0]
    records = sorted(place.glob(f"*{NDJSON}"))
    if len(records) == 1:
        return records[0]
    return place if task != "classify" and coco.find_annotations(place, task) else None


def _yaml_files(entries: Iterable[Path]) -> list[Path]:
    return sorted(
        entry
        for entry in entries
        if entry.suffix.lower() in YAML_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    )


def _describes(file: Path) -> bool:
    try:
        content = read_yaml(file)
    except EncodingError:
        return True  # the error comes when it is read
    except (yaml.YAMLError, OSError):
        return False
    return isinstance(content, dict) and "train" in content


def _list(folder: Path) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"it has {', '.join(names[:SHOWN]) or 'nothing'}{more}"
