# SPDX-License-Identifier: AGPL-3.0-only
"""The data set that a labelling makes: images, YOLO labels, COCO JSON, and what a person should look at.

data.yaml                       what a job trains on
images/train/…, labels/train/…  and val, test
annotations/instances_train.json, …
review.csv, sheets/             labels by certainty, the least certain first
original-labels.json            the labels as they were written, by which later changes are known
labelling.json                  what was asked, and what came of it; written last
corrected/                      made by people: COCO JSON whose labels replace those of its images
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.labelling import contact_sheets
from yolo_trainer.labelling.coco_file import coco
from yolo_trainer.labelling.findings import ImageFindings, ReviewedLabel
from yolo_trainer.labelling.request import LabelRequest
from yolo_trainer.labelling.yolo_lines import lines
from yolo_trainer.storage.atomic_file import write_atomically

REPORT = "labelling.json"
REVIEW = "review.csv"
ORIGINAL = "original-labels.json"
CORRECTED = "corrected"
_PARTS = ("images", "labels", "annotations", "sheets")
_COLUMNS = ("certainty", "image", "class", "score", "x1", "y1", "x2", "y2", "labelled", "doubts")


def write_dataset(request: LabelRequest, splits: Mapping[str, Sequence[ImageFindings]]) -> None:
    """Write images, labels and their description; what an earlier labelling wrote is replaced."""
    output = request.output
    for name in (REPORT, ORIGINAL, DESCRIPTION):
        (output / name).unlink(missing_ok=True)
    for part in _PARTS:
        shutil.rmtree(output / part, ignore_errors=True)
    (output / "annotations").mkdir(parents=True)
    names = unique_names([each.image for findings in splits.values() for each in findings])
    original: dict[str, dict[str, str]] = {}
    for split, findings in splits.items():
        for folder in ("images", "labels"):
            (output / folder / split).mkdir(parents=True)
        for each in findings:
            name = names[each.image]
            _link(request.images / each.image, output / "images" / split / name, copy=request.copy_images)
            label, text = Path(split, name).with_suffix(".txt"), lines(each, request.task)
            (output / "labels" / label).write_text(text, encoding="utf-8")
            original[str(label)] = {"image": each.image, "labels": text}
        document = coco(findings, [names[each.image] for each in findings], request.classes)
        (output / "annotations" / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")
    write_atomically(output / ORIGINAL, json.dumps(original).encode())
    description: dict[str, Any] = {split: f"images/{split}" for split in splits}
    description["names"] = list(request.classes)
    content = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_atomically(output / DESCRIPTION, content.encode())


def write_review(request: LabelRequest, labels: Sequence[ReviewedLabel]) -> None:
    """Write the labels by certainty, as a table and as contact sheets."""
    classes, output = request.classes, request.output
    with (output / REVIEW).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for label in labels:
            found = label.found
            box = [f"{value:.1f}" for value in found.box]
            figures = [f"{label.certainty:.3f}", label.image, classes[found.class_id], f"{found.score:.3f}", *box]
            table.writerow([*figures, "no" if label.missing else "yes", "; ".join(label.doubts)])
    files = {label.image: request.images / label.image for label in labels}
    contact_sheets.draw_sheets(contact_sheets.by_certainty(labels, files), classes, output / "sheets")


def write_report(output: Path, report: Mapping[str, Any]) -> None:
    """Write what was asked, and what came of it."""
    write_atomically(output / REPORT, json.dumps(report, indent=2).encode())


def unique_names(images: Sequence[str]) -> dict[str, str]:
    """Return a file name without folders for each image; no two have the same label file."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for image in sorted(images):
        flat = PurePosixPath(image.replace("/", "__"))
        candidates = (flat, flat.with_stem(f"{flat.stem}__{flat.suffix[1:]}"))
        number = 2
        name = next((each for each in candidates if each.stem not in taken), None)
        while name is None:
            numbered = flat.with_stem(f"{flat.stem}__{number}")
            name, number = (None if numbered.stem in taken else numbered), number + 1
        taken.add(name.stem)
        names[image] = str(name)
    return names


def _link(source: Path, target: Path, *, copy: bool) -> None:
    """Give an image a hard link, which takes no room; on another volume, or one without links, copy or link to it."""
    with contextlib.suppress(OSError):
        os.link(source.resolve(), target)
        return
    if copy:
        shutil.copyfile(source, target)
    else:
        target.symlink_to(source.resolve())
