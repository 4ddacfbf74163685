# SPDX-License-Identifier: AGPL-3.0-only
"""Read COCO JSON that people put into `corrected`, as CVAT and Label Studio export it.

The files are checked, and rewritten for the reader of COCO data sets: that one numbers images and categories by itself.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from yolo_trainer.errors import DatasetInvalidError, in_one_sentence
from yolo_trainer.inputs import coco
from yolo_trainer.inputs.labels import TOLERANCE, LabelRules
from yolo_trainer.labelling import yolo_lines
from yolo_trainer.labelling.dataset_folder import CORRECTED
from yolo_trainer.labelling.image_names import ImageNames
from yolo_trainer.labelling.request import LabelRequest


@dataclass(frozen=True)
class _Entry:
    """An image of a COCO file that is one of the data set."""

    label: str
    """The image's label file, below `labels`."""
    file: Path
    size: tuple[int, int]
    """Width and height in pixels, upright."""


def read(
    request: LabelRequest, images: Mapping[str, Path], sources: Mapping[str, str], seal: Callable[[], None]
) -> dict[str, str]:
    """Return by label file the labels of all images that the files in `corrected` name.

    Args:
        request: what was labelled; its output has the data set.
        images: the image of each label file.
        sources: where they were labelled: paths relative to the folder of images, by label file.
        seal: imports Ultralytics; called if there is a file.

    Raises:
        DatasetInvalidError: a file is no COCO JSON, or names an image or a category that is unknown, or has an object
            that is no label.

    """
    files = sorted((request.output / CORRECTED).glob("*.json"))
    if not files:
        return {}
    seal()
    names = ImageNames(images, sources)
    found: dict[str, str] = {}
    by: dict[str, str] = {}
    for file in files:
        name = f"{CORRECTED}/{file.name}"
        labels = _read(file, name, request, images, names)
        twice = sorted(labels.keys() & found.keys())
        if twice:
            raise DatasetInvalidError(
                f"{by[twice[0]]} and {name} both have {images[twice[0]].name}: leave it in one of them"
            )
        found |= labels
        by |= dict.fromkeys(labels, name)
    return found


def _read(
    file: Path, name: str, request: LabelRequest, images: Mapping[str, Path], names: ImageNames
) -> dict[str, str]:
    content = coco.read_annotations(file)
    try:
        entries = _entries(content, name, images, names)
        problems = list(_problems(content, entries, request))
        if problems:
            raise DatasetInvalidError(in_one_sentence([f"{name}: {problem}" for problem in problems]))
        rewritten = _rewritten(content, entries, request)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetInvalidError(
            f"{name} is not COCO JSON ({type(error).__name__}: {error}): give images with id, file_name, width and "
            "height, annotations with image_id, category_id and bbox, and categories with id and name"
        ) from error
    return _converted(rewritten, list(entries.values()), request)


def _entries(content: Mapping[str, Any], name: str, images: Mapping[str, Path], names: ImageNames) -> dict[Any, _Entry]:
    """Return the images of a file by their ids, and name every one that is unknown or has another size."""
    entries: dict[Any, _Entry] = {}
    problems = []
    for each in content["images"]:
        found = names.find(str(each["file_name"]))
        if len(found) != 1:
            places = " or ".join(f"images/{Path(one).parent}/{images[one].name}" for one in found)
            what = f"can be {places}: export it with its folder" if found else "is no image of this job"
            problems.append(f"{name}: {each['file_name']} {what}")
            continue
        image = images[found[0]]
        size, given = _size(image), (each["width"], each["height"])
        if given != size:
            problems.append(
                f"{name}: {each['file_name']} is {given[0]} x {given[1]} pixels, and the image is {size[0]} x {size[1]}"
            )
        if each["id"] in entries or any(entry.label == found[0] for entry in entries.values()):
            problems.append(f"{name}: {each['file_name']} is listed twice: leave it there once")
        entries[each["id"]] = _Entry(found[0], image, size)
    if problems:
        raise DatasetInvalidError(in_one_sentence(problems))
    return entries


def _problems(content: Mapping[str, Any], entries: Mapping[Any, _Entry], request: LabelRequest) -> Iterator[str]:
    categories = {each["id"]: str(each["name"]) for each in content["categories"]}
    for each in content["annotations"]:
        entry, category = entries.get(each["image_id"]), categories.get(each["category_id"])
        where = f"annotation {each.get('id')}"
        if entry is None:
            yield f"{where} has image_id {each['image_id']}, which images does not list"
            continue
        where = f"{where} on {entry.file.name}"
        if category not in request.classes:
            known = ", ".join(request.classes)
            yield f"{where} has category {category or each['category_id']}: the classes are {known}"
        problem = _geometry_problem(each, entry.size, outlines=request.task != "detect")
        if problem:
            yield f"{where} {problem}"


def _geometry_problem(annotation: Mapping[str, Any], size: tuple[int, int], *, outlines: bool) -> str | None:
    if annotation.get("iscrowd"):
        return "is a crowd (iscrowd), which has no label: draw its objects, or delete it"
    x, y, width, height = annotation["bbox"]
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return f"has bbox {annotation['bbox']}: give x, y, width and height in pixels, larger than 0"
    polygons = annotation.get("segmentation") if outlines else []
    if isinstance(polygons, dict):
        return "has an RLE mask: export polygons instead"
    if outlines and not (polygons and all(len(each) >= 6 and len(each) % 2 == 0 for each in polygons)):
        return "has no outline: draw a polygon of at least 3 points"
    points = [(x, y), (x + width, y + height)]
    points += [(each[i], each[i + 1]) for each in polygons or () for i in range(0, len(each), 2)]
    if not all(_is_inside(value, most) for point in points for value, most in zip(point, size, strict=True)):
        return f"reaches beyond the image of {size[0]} x {size[1]} pixels"
    return None


def _is_inside(value: float, most: int) -> bool:
    return -TOLERANCE * most <= value <= (1 + TOLERANCE) * most


def _rewritten(content: Mapping[str, Any], entries: Mapping[Any, _Entry], request: LabelRequest) -> dict[str, Any]:
    """Return the document with our own numbers, and with image paths relative to the folder of images."""
    numbers = {key: number for number, key in enumerate(entries)}
    classes = {each["id"]: str(each["name"]) for each in content["categories"]}
    return {
        "images": [
            {
                "id": numbers[key],
                "file_name": f"{numbers[key]}{entry.file.suffix}",
                "width": entry.size[0],
                "height": entry.size[1],
            }
            for key, entry in entries.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": numbers[each["image_id"]],
                "category_id": request.classes.index(classes[each["category_id"]]),
                "bbox": each["bbox"],
                "segmentation": each.get("segmentation") or [],
            }
            for number, each in enumerate(content["annotations"])
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(request.classes)],
    }


def _converted(document: Mapping[str, Any], entries: Sequence[_Entry], request: LabelRequest) -> dict[str, str]:
    """Convert a document as a COCO data set is, and return the labels in the form of the task."""
    rules = LabelRules(request.task, len(request.classes), names=request.classes)
    labels = {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for number, entry in enumerate(entries):
            (place / f"{number}{entry.file.suffix}").symlink_to(entry.file.absolute())
        (place / "train.json").write_text(json.dumps(document), encoding="utf-8")
        result = coco.convert({"train": place / "train.json"}, place, request.task, place / "converted").parent
        for number, entry in enumerate(entries):
            text = (result / "labels" / "train" / f"{number}.txt").read_text(encoding="utf-8")
            found = yolo_lines.kept(entry.file.name, entry.size, text, rules)
            if isinstance(found, str):
                raise DatasetInvalidError(f"{entry.file.name} has a label that cannot be trained on: {found}")
            labels[entry.label] = yolo_lines.lines(found, request.task)
    return labels


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).size
