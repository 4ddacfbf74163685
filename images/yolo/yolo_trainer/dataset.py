# SPDX-License-Identifier: AGPL-3.0-only
"""Checks a data set before the training: what is wrong is said by file name, and before GPU memory is taken."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from yolo_trainer.job import Task
from yolo_trainer.labels import LabelRules, first_problem
from yolo_trainer.outcome import DatasetInvalidError
from yolo_trainer.pictures import IMAGE_SUFFIXES, picture_problem

log = logging.getLogger(__name__)
T = TypeVar("T")

DESCRIPTION = "data.yaml"
PROBLEMS_SHOWN = 5
CLASSES_SHOWN = 20
READERS = 8
"""Threads that read files: data sets often lie on network volumes."""


@dataclass(frozen=True)
class Dataset:
    """A data set that passed its checks."""

    folder: Path
    source: Path
    """The file that describes it; for classification, the folder."""
    images: dict[str, int]
    """Pictures in each split."""
    classes: int
    description: dict[str, Any] | None
    """What Ultralytics is told, every path absolute; None for classification, which goes by folder names."""

    def pictures(self, split: str) -> list[Path]:
        """Return a split's pictures, in order."""
        if self.description is None:
            return _images(self.folder / split)
        return [image for source in self.description[split] for image in _images(Path(source))]

    def written_to(self, folder: Path) -> Path:
        """Return what Ultralytics takes as `data`; a description is written into `folder` first.

        The description is our own, so that relative paths mean what they say and a `download` script is never run.
        """
        if self.description is None:
            return self.folder
        target = folder / DESCRIPTION
        target.write_text(yaml.safe_dump(self.description, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return target


class _Description(BaseModel):
    """A `data.yaml`. Fields that only Ultralytics reads pass through."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    path: str = "."
    train: str | list[str]
    val: str | list[str]
    test: str | list[str] | None = None
    names: list[str] | dict[int, str] | None = None
    nc: int | None = Field(default=None, ge=1)
    kpt_shape: tuple[int, int] | None = None
    flip_idx: list[int] | None = None

    @model_validator(mode="after")
    def _classes_agree(self) -> _Description:
        if self.names is None and self.nc is None:
            raise ValueError("names is missing: list the classes")
        if self.names is not None and not self.names:
            raise ValueError("names is empty: list the classes")
        if isinstance(self.names, dict) and sorted(self.names) != list(range(len(self.names))):
            raise ValueError("names must number the classes from 0 without a gap")
        if self.names is not None and self.nc not in (None, len(self.names)):
            raise ValueError(f"nc says {self.nc} classes, names lists {len(self.names)}: make them agree or remove nc")
        if self.kpt_shape is not None and (self.kpt_shape[0] < 1 or self.kpt_shape[1] not in (2, 3)):
            raise ValueError("kpt_shape must be the number of keypoints and 2 or 3")
        points = range(self.kpt_shape[0]) if self.kpt_shape is not None else ()
        if points and self.flip_idx and sorted(self.flip_idx) != list(points):
            raise ValueError(
                f"flip_idx must name each keypoint from 0 to {points[-1]} once, in a mirrored picture's order"
            )
        return self

    @property
    def classes_in_order(self) -> list[str]:
        names = self.names or []
        return [names[number] for number in range(len(names))]

    @property
    def classes(self) -> int:
        return len(self.names) if self.names is not None else self.nc or 0


def check_dataset(path: Path, task: Task, single_class: bool = False) -> Dataset:
    """Check the data set at `path`: a folder with `data.yaml`, or a YAML file; for classification, a folder of folders.

    Raises:
        DatasetInvalidError: with what is wrong, the first files that are, and how many more.

    """
    return _check_folders(path) if task == "classify" else _check_described(path, task, single_class)


def _check_described(path: Path, task: Task, single_class: bool) -> Dataset:
    file = path / DESCRIPTION if path.is_dir() else path
    description = _read_description(file)
    if task == "pose" and description.kpt_shape is None:
        raise DatasetInvalidError(f"{file}: kpt_shape is missing: the task pose needs [number of keypoints, 2 or 3]")
    root = file.parent / description.path
    if not root.is_dir():
        raise DatasetInvalidError(
            f"{file}: path is {description.path}, and {root} is no folder: give it relative to {file.name}, or leave "
            "it out"
        )
    names = tuple(description.classes_in_order)
    rules = LabelRules(task, description.classes, description.kpt_shape or (0, 0), single_class, names)
    resolved = description.model_dump(exclude_none=True, exclude={"download"}) | {"path": str(root.resolve())}
    images = {}
    for split in ("train", "val", "test"):
        places = getattr(description, split)
        if not places:
            continue
        sources = [_source(root, place, split, file) for place in ([places] if isinstance(places, str) else places)]
        found = [image for source in sources for image in _images(source)]
        if not found:
            raise DatasetInvalidError(f"{file}: {split} has no pictures in {', '.join(map(str, sources))}")
        _check_pictures(found, rules, split)
        images[split] = len(found)
        resolved[split] = [str(source) for source in sources]
    if description.names is not None:
        resolved["names"] = description.classes_in_order
    return Dataset(file.parent, file, images, description.classes, resolved)


def _read_description(file: Path) -> _Description:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetInvalidError(
            f"{file} cannot be read ({error.strerror}): dataset.path must be a folder that holds {DESCRIPTION}, or a "
            "YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetInvalidError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DatasetInvalidError(f"{file} must hold at least train, val and names")
    try:
        return _Description.model_validate({str(key): value for key, value in content.items()})
    except ValidationError as error:
        problems = "; ".join(
            ": ".join([*map(str, details["loc"][:1]), details["msg"].removeprefix("Value error, ")])
            for details in error.errors()
        )
        raise DatasetInvalidError(f"{file}: {problems}") from error


def _source(root: Path, place: str, split: str, file: Path) -> Path:
    """Return the folder or list of pictures that a split names."""
    source = root / place
    if not source.exists() and place.startswith("../"):  # exports of some labelling tools count from a folder below
        source = root / place.removeprefix("../")
    if not source.exists():
        raise DatasetInvalidError(f"{file}: {split} is {place}, and {root / place} does not exist")
    return source.resolve()


def _images(source: Path) -> list[Path]:
    """Return the pictures in a folder, or those that a text file lists, one path a line."""
    if source.is_dir():
        return sorted(file for file in source.rglob("*.*") if file.suffix.lower() in IMAGE_SUFFIXES)
    lines = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    for line in lines:
        if not line.startswith(("/", "./")):
            raise DatasetInvalidError(
                f"{source}: '{line}' must be an absolute path, or begin with './' to count from this file"
            )
    return [source.parent / line for line in lines]


def _check_pictures(images: list[Path], rules: LabelRules, split: str) -> None:
    _raise_for(_problems(picture_problem, images), f"of the pictures in {split} cannot be used")
    labelled = [label_file(image) for image in images]
    missing = [label for label in labelled if not label.is_file()]
    if len(missing) == len(images):
        raise DatasetInvalidError(
            f"{split} has {len(images)} pictures and no label file; that of {images[0]} is looked for at {missing[0]}"
        )
    present = [label for label in labelled if label.is_file()]
    checked = dict(zip(present, _mapped(lambda label: _check_label(label, rules), present), strict=True))
    _raise_for(
        [f"{label}: {problem}" for label, (problem, _) in checked.items() if problem],
        f"of the label files for {split} cannot be used",
    )
    objects = sum((found for _, found in checked.values()), Counter[int]())
    if not objects and split == "train":
        raise DatasetInvalidError(f"{split} has {len(images)} pictures and not one labelled object: label some")
    _report_classes(objects, rules, split)


def _report_classes(objects: Counter[int], rules: LabelRules, split: str) -> None:
    """Say how many objects each class has: what is never seen cannot be learnt."""
    if rules.single_class or not rules.names:
        return
    counts = ", ".join(f"{name} {objects[number]}" for number, name in enumerate(rules.names[:CLASSES_SHOWN]))
    more = f" and {len(rules.names) - CLASSES_SHOWN} more classes" if len(rules.names) > CLASSES_SHOWN else ""
    log.info("%s has %d objects: %s%s", split, objects.total(), counts, more)
    unseen = [name for number, name in enumerate(rules.names) if not objects[number]]
    if unseen and split == "train":
        log.warning("%s shows no object of %d classes: %s", split, len(unseen), ", ".join(unseen[:CLASSES_SHOWN]))


def label_file(image: Path) -> Path:
    """Return where Ultralytics looks for labels: `images` in the path becomes `labels`, and the suffix `.txt`."""
    before, found, after = str(image).rpartition("/images/")
    return Path(f"{before}/labels/{after}" if found else str(image)).with_suffix(".txt")


def _problems(check: Callable[[Path], str | None], files: list[Path]) -> Iterator[str]:
    for file, problem in zip(files, _mapped(check, files), strict=True):
        if problem:
            yield f"{file}: {problem}"


def _mapped(check: Callable[[Path], T], files: list[Path]) -> Iterator[T]:
    pool = ThreadPoolExecutor(READERS)
    try:
        yield from pool.map(check, files)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _raise_for(problems: Iterable[str], what: str) -> None:
    found = list(problems)
    if found:
        more = f"; and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
        raise DatasetInvalidError(f"{len(found)} {what}: {'; '.join(found[:PROBLEMS_SHOWN])}{more}")


def _check_label(file: Path, rules: LabelRules) -> tuple[str | None, Counter[int]]:
    """Return what is wrong with a label file, and how many objects of each class it has."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        return error.strerror, Counter()
    except UnicodeDecodeError:
        return "not a text file", Counter()
    problem = first_problem(text, rules)
    rows = [] if problem else [row.split() for row in text.splitlines()]
    return problem, Counter(int(float(row[0])) for row in rows if row)


def _check_folders(path: Path) -> Dataset:
    """Check a classification data set: `train` and `val` with one folder of pictures for each class."""
    images, classes = {}, {}
    for split in ("train", "val"):
        folder = path / split
        if not folder.is_dir():
            raise DatasetInvalidError(
                f"{folder} is no folder: the task classify needs train/<class>/ and val/<class>/ in dataset.path"
            )
        found = _images(folder)
        if not found:
            raise DatasetInvalidError(f"{folder} has no pictures in folders named after their classes")
        classes[split] = {entry.name for entry in folder.iterdir() if entry.is_dir()}
        _raise_for(_problems(picture_problem, found), f"of the pictures in {split} cannot be used")
        images[split] = len(found)
    unknown = sorted(classes["val"] - classes["train"])
    if unknown:
        raise DatasetInvalidError(f"{path / 'val'} has classes that {path / 'train'} lacks: {', '.join(unknown)}")
    return Dataset(path.resolve(), path.resolve(), images, len(classes["train"]), None)
