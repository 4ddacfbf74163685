# SPDX-License-Identifier: AGPL-3.0-only
"""Whether labels are worth a GPU: classes without objects, images without any. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from yolo_trainer.errors import DatasetInvalidError, in_one_sentence
from yolo_trainer.labelling.findings import ImageFindings
from yolo_trainer.labelling.request import LabelRequest

_MANY_EMPTY = 0.5
"""Share of images without an object from which a warning says so."""


def count_objects(findings: Iterable[ImageFindings], classes: Sequence[str]) -> dict[str, int]:
    """Return the objects of each class."""
    counts = Counter(found.class_id for each in findings for found in each.objects)
    return {name: counts[number] for number, name in enumerate(classes)}


def check_counts(counts: Mapping[str, int], images: int, request: LabelRequest) -> None:
    """Raise DatasetInvalidError if a class has too few objects, with what to change."""
    _check(
        f"class {name} has {count} objects in {images} images, and minObjects is {request.min_objects}: lower its "
        f"threshold ({request.thresholds(name)}), say it in other words, or add images"
        for name, count in counts.items()
        if count < request.min_objects
    )


def check_corrected_counts(counts: Mapping[str, int], request: LabelRequest) -> None:
    """Raise DatasetInvalidError if people left too few objects of a class, with what to change."""
    _check(
        f"class {name} has {count} objects in the corrected labels, and minObjects is {request.min_objects}: label "
        "more of them, or leave its prompts out"
        for name, count in counts.items()
        if count < request.min_objects
    )


def _check(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise DatasetInvalidError(in_one_sentence(found))


def warnings(splits: Mapping[str, Sequence[ImageFindings]], classes: Sequence[str]) -> list[str]:
    """Return sentences about what a training run may suffer from."""
    every = [each for findings in splits.values() for each in findings]
    empty = sum(not each.objects for each in every)
    said = []
    if empty > _MANY_EMPTY * len(every):
        said.append(f"{empty} of {len(every)} images have no objects: they teach only what is background")
    for split, findings in splits.items():
        missing = [name for name, count in count_objects(findings, classes).items() if not count]
        if missing:
            said.append(f"{split} has no objects of {', '.join(missing)}")
    return said
