# SPDX-License-Identifier: AGPL-3.0-only
"""Check a data set before the training run takes GPU memory; each error names the file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.description import DESCRIPTION, Description, read_description
from yolo_trainer.inputs.image_lists import class_images, images_in, label_name
from yolo_trainer.inputs.images import Inspection, inspect_image
from yolo_trainer.inputs.labels import LabelRules, Labels, read_labels
from yolo_trainer.job.spec import Task
from yolo_trainer.text import EncodingError, read_utf8

log = logging.getLogger(__name__)
T = TypeVar("T")

PROBLEMS_SHOWN = 5
CLASSES_SHOWN = 20
READERS = 8
"""Threads that read files: data sets are often on network volumes."""
NEEDED = ("train", "val")
"""Splits that every data set has."""
VAL_FOLDERS = ("val", "validation", "valid")
"""Names that the validation split of a classification set may have, in Ultralytics' order."""


@dataclass(frozen=True)
class Dataset:
    """A data set that passed its checks."""

    folder: Path
    source: Path
    """The file that describes it; for classification, the folder."""
    images: dict[str, int]
    """Images in each split that was checked."""
    classes: int
    description: dict[str, Any] | None
    """What Ultralytics is given, every path absolute; None for classification, which goes by folder names."""
    splits: dict[str, list[str]]
    """Folders and lists of images of each split that was checked."""
    unlabelled: dict[str, int] = field(default_factory=dict)
    """Images without a label file, by split, for splits that have any: they contain no objects."""

    @property
    def unlabelled_sentences(self) -> list[str]:
        """A sentence for each split that has images without a label file."""
        return [
            f"{missing} of {self.images[split]} {split} images have no label file"
            for split, missing in self.unlabelled.items()
        ]

    def image_files(self, split: str) -> list[Path]:
        """Return a split's images, in order."""
        return [Path(image) for image in self.names(split)]

    def names(self, split: str) -> list[str]:
        """Return a split's images as Ultralytics names them."""
        sources = [Path(source) for source in self.splits[split]]
        if self.description is None:
            return [image for source in sources for images in class_images(source).values() for image in images]
        return sorted(image for source in sources for image in images_in(source))

    def written_to(self, folder: Path) -> Path:
        """Return what Ultralytics takes as `data`; a description is written into `folder` first.

        The description is our own, so that relative paths mean what they say and a `download` script is never run.
        """
        if self.description is None:
            return self.source
        target = folder / DESCRIPTION
        target.write_text(yaml.safe_dump(self.description, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return target


@dataclass(frozen=True)
class Examined:
    """A data set that passed its checks, and what was found in each of its images."""

    dataset: Dataset
    images: Mapping[str, Inspection]
    """By the image's name."""


def check_dataset(path: Path, task: Task, single_class: bool = False) -> Dataset:
    """Check a data set, as `examine_dataset` does, and return it alone."""
    return examine_dataset(path, task, single_class).dataset


def examine_dataset(path: Path, task: Task, single_class: bool = False, also: Sequence[str] = ()) -> Examined:
    """Check the data set at `path`: a folder with `data.yaml`, or a YAML file; for classification, a folder of folders.

    Args:
        path: the folder or file.
        task: what it is trained for.
        single_class: all objects count as one class.
        also: splits that are read besides `train` and `val`, where the data set has them.

    Raises:
        DatasetInvalidError: with what is wrong, the first files that are, and how many more.

    """
    splits = tuple(dict.fromkeys((*NEEDED, *also)))
    if task == "classify":
        return _examine_folders(path, splits)
    return _examine_described(path, task, single_class, splits)


def _examine_described(path: Path, task: Task, single_class: bool, splits: Sequence[str]) -> Examined:
    file = path / DESCRIPTION if path.is_dir() else path
    description = read_description(file, task)
    root = file.parent / description.path
    if not root.is_dir():
        raise DatasetInvalidError(
            f"{file}: path is {description.path}, and {root} is no folder: give it relative to {file.name}, or leave "
            "it out"
        )
    rules = LabelRules(
        task,
        description.classes,
        description.kpt_shape or (0, 0),
        single_class,
        tuple(description.names or ()),
    )
    sources = {
        split: _sources(root, description, split, file)
        for split in splits
        if split in NEEDED or getattr(description, split, None)
    }
    unread = {} if "test" in sources else {"test": None}
    resolved = description.passed_on() | {"path": str(root.resolve())} | sources | unread
    images: dict[str, Inspection] = {}
    unlabelled = {}
    counts = {}
    for split, places in sources.items():
        found = [image for place in places for image in images_in(Path(place))]
        if not found:
            raise DatasetInvalidError(f"{file}: {split} has no images in {', '.join(places)}")
        images |= _inspected(found, split)
        unlabelled[split] = _check_labels(found, rules, split)
        counts[split] = len(found)
    dataset = Dataset(
        file.parent,
        file,
        counts,
        description.classes,
        {name: value for name, value in resolved.items() if value is not None},
        sources,
        {split: missing for split, missing in unlabelled.items() if missing},
    )
    return Examined(dataset, images)


def _sources(root: Path, description: Description, split: str, file: Path) -> list[str]:
    """Return the folders and lists of images that a split names."""
    places = getattr(description, split)
    if not places:
        raise DatasetInvalidError(f"{file}: {split} is empty: name its folder of images")
    return [str(_source(root, place, split, file)) for place in ([places] if isinstance(places, str) else places)]


def _source(root: Path, place: str, split: str, file: Path) -> Path:
    source = root / place
    if not source.exists() and place.startswith("../"):  # exports of some labelling tools count from a folder below
        source = root / place.removeprefix("../")
    if not source.exists():
        raise DatasetInvalidError(f"{file}: {split} is {place}, and {root / place} does not exist")
    return source.resolve()


def _inspected(images: list[str], split: str) -> dict[str, Inspection]:
    """Open every image, and return what was found."""
    found = dict(zip(images, mapped(lambda image: inspect_image(Path(image)), images), strict=True))
    raise_for(
        (f"{image}: {seen.problem}" for image, seen in found.items() if seen.problem),
        f"of the images in {split} cannot be used",
    )
    return found


def _check_labels(images: list[str], rules: LabelRules, split: str) -> int:
    """Read every label file, and return how many images have none."""
    labelled = [Path(label_name(image)) for image in images]
    present = [label for label in labelled if label.is_file()]
    missing = len(images) - len(present)
    if not present:
        raise DatasetInvalidError(
            f"{split} has {len(images)} images and no label file; that of {images[0]} is looked for at {labelled[0]}"
        )
    checked = list(mapped(lambda label: _read_label_file(label, rules), present))
    raise_for(
        (f"{label}: {labels.problem}" for label, labels in zip(present, checked, strict=True) if labels.problem),
        f"of the label files for {split} cannot be used",
    )
    objects = sum((labels.objects for labels in checked), Counter[int]())
    if not objects and split == "train":
        raise DatasetInvalidError(f"{split} has {len(images)} images and not one labelled object: label some")
    _report_classes(objects, rules, split)
    return missing


def _read_label_file(file: Path, rules: LabelRules) -> Labels:
    try:
        return read_labels(read_utf8(file), rules)
    except OSError as error:
        return Labels(error.strerror, Counter())
    except EncodingError as error:
        return Labels(str(error), Counter())


def _report_classes(objects: Counter[int], rules: LabelRules, split: str) -> None:
    """Log how many objects each class has: a class without objects cannot be learnt."""
    if rules.single_class or not rules.names:
        return
    counts = ", ".join(f"{name} {objects[number]}" for number, name in enumerate(rules.names[:CLASSES_SHOWN]))
    more = f" and {len(rules.names) - CLASSES_SHOWN} more classes" if len(rules.names) > CLASSES_SHOWN else ""
    log.info("%s has %d objects: %s%s", split, objects.total(), counts, more)
    unseen = [name for number, name in enumerate(rules.names) if not objects[number]]
    if unseen and split == "train":
        log.warning("%s shows no object of %d classes: %s", split, len(unseen), ", ".join(unseen[:CLASSES_SHOWN]))


def mapped(check: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Call a function that reads files for each item, several at a time; results keep their order."""
    pool = ThreadPoolExecutor(READERS)
    try:
        yield from pool.map(check, items)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def raise_for(problems: Iterable[str], what: str) -> None:
    """Raise DatasetInvalidError where there is a problem, with the first few."""
    found = list(problems)
    if found:
        more = f"; and {len(found) - PROBLEMS_SHOWN} more" if len(found) > PROBLEMS_SHOWN else ""
        raise DatasetInvalidError(f"{len(found)} {what}: {'; '.join(found[:PROBLEMS_SHOWN])}{more}")


def _examine_folders(path: Path, splits: Sequence[str]) -> Examined:
    """Check a classification data set: `train` and `val` with one folder of images for each class."""
    counts, classes = {}, {}
    images: dict[str, Inspection] = {}
    folders = {split: _split_folder(path, split) for split in splits if split in NEEDED or (path / split).is_dir()}
    for split, folder in folders.items():
        found = class_images(folder)
        names = [image for each in found.values() for image in each]
        if not names:
            raise DatasetInvalidError(f"{folder} has no images in folders named after their classes")
        images |= _inspected(names, split)
        classes[split], counts[split] = set(found), len(names)
    for split in folders:
        unknown = sorted(classes[split] - classes["train"])
        if unknown:
            raise DatasetInvalidError(f"{folders[split]} has classes that {path / 'train'} lacks: {', '.join(unknown)}")
    place = path.resolve()
    sources = {split: [str(folder)] for split, folder in folders.items()}
    return Examined(Dataset(place, place, counts, len(classes["train"]), None, sources), images)


def _split_folder(path: Path, split: str) -> Path:
    place = path.resolve()
    names = VAL_FOLDERS if split == "val" else (split,)
    found = next((place / name for name in names if (place / name).exists()), None)
    if split == "val" and found is None and (place / "test").is_dir():
        found = place / "test"
    if found is None or not found.is_dir():
        raise DatasetInvalidError(
            f"{place / split} is no folder: the task classify needs train/<class>/ and val/<class>/ in dataset.path"
        )
    return found
