# SPDX-License-Identifier: AGPL-3.0-only
"""Take labels as people corrected them: in `labels`, and as COCO JSON in `corrected`.

Everything is checked before anything is written, and each step may be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from yolo_trainer.errors import DatasetInvalidError, in_one_sentence
from yolo_trainer.inputs.image_lists import images_in
from yolo_trainer.inputs.labels import LabelRules, read_labels
from yolo_trainer.labelling import checks, corrected_coco, earlier
from yolo_trainer.labelling.dataset_folder import write_report
from yolo_trainer.labelling.request import LabelRequest
from yolo_trainer.storage.atomic_file import write_atomically

_SAME = 0.001
"""Share of the image by which a coordinate may differ: programs round what they export."""


@dataclass(frozen=True)
class Changes:
    """How many of something people changed, added and removed."""

    changed: int = 0
    added: int = 0
    removed: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(self.changed + other.changed, self.added + other.added, self.removed + other.removed)

    def __str__(self) -> str:
        return f"{self.changed} changed, {self.added} added, {self.removed} removed"


@dataclass(frozen=True)
class Corrections:
    """What people corrected: an image counts as changed if any of its labels is another."""

    labels: Changes
    images: Changes

    def __str__(self) -> str:
        return f"labels: {self.labels}; images: {self.images}"


def take(request: LabelRequest, seal: Callable[[], None]) -> Corrections:
    """Check the labels as they are now, take those of COCO files, and record what people corrected.

    Args:
        request: what was labelled; its output has the data set.
        seal: imports Ultralytics, if there is a COCO file.

    Raises:
        DatasetInvalidError: a label or COCO file is invalid, or a class has too few objects; nothing was written.

    """
    output = request.output
    images = _images(output)
    original = earlier.read_original(output)
    sources = {label: original[label]["image"] for label in images.keys() & original.keys()}
    replaced = corrected_coco.read(request, images, sources, seal)
    labels = earlier.read_labels(output) | replaced
    checks.check_corrected_counts(_checked(labels, images, request), request)
    for name, text in replaced.items():
        write_atomically(output / "labels" / name, text.encode())
    before = {name: each["labels"] for name, each in original.items()}
    found = compare(before, {name: labels.get(name, "") for name in images})
    write_report(output, {**earlier.read_report(output), "corrections": asdict(found)})
    return found


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> Corrections:
    """Return what differs between the labels of images, by label file."""
    labels = Changes()
    changed = 0
    for name in before.keys() | after.keys():
        one = _changes(before.get(name, "").splitlines(), after.get(name, "").splitlines())
        labels += one
        changed += name in before and name in after and one != Changes()
    images = Changes(changed, len(after.keys() - before.keys()), len(before.keys() - after.keys()))
    return Corrections(labels, images)


def _changes(before: Sequence[str], after: Sequence[str]) -> Changes:
    """Return what differs in one image; each label that disappeared may be the former of one that appeared."""
    left = [list(map(float, line.split())) for line in after if line.strip()]
    gone = 0
    for row in (list(map(float, line.split())) for line in before):
        same = next((other for other in left if _is_same(row, other)), None)
        if same is None:
            gone += 1
        else:
            left.remove(same)
    changed = min(gone, len(left))
    return Changes(changed, len(left) - changed, gone - changed)


def _is_same(row: Sequence[float], other: Sequence[float]) -> bool:
    return (
        len(row) == len(other)
        and row[0] == other[0]
        and all(abs(one - two) <= _SAME for one, two in zip(row[1:], other[1:], strict=True))
    )


def _images(output: Path) -> dict[str, Path]:
    """Return the images, by the names of their label files below `labels`."""
    folder = output / "images"
    found = (Path(name) for split in sorted(folder.iterdir()) for name in images_in(split))
    return {str(image.relative_to(folder).with_suffix(".txt")): image for image in found}


def _checked(labels: Mapping[str, str], images: Mapping[str, Path], request: LabelRequest) -> dict[str, int]:
    """Return the objects of each class; DatasetInvalidError names every file, and the line."""
    counts = Counter[int]()
    problems = list(_without_image(labels, images))
    rules = LabelRules(request.task, len(request.classes), names=request.classes)
    for name, text in labels.items():
        read = read_labels(text, rules)
        counts.update(read.objects)
        if read.problem:
            problems.append(f"labels/{name}: {read.problem}")
    if problems:
        raise DatasetInvalidError(in_one_sentence(problems))
    return {name: counts[number] for number, name in enumerate(request.classes)}


def _without_image(labels: Mapping[str, str], images: Mapping[str, Path]) -> Iterator[str]:
    for name in labels.keys() - images.keys():
        yield f"labels/{name} has no image in images/{Path(name).parent}: rename or delete it"
