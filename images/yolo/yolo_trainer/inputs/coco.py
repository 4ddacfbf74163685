# SPDX-License-Identifier: AGPL-3.0-only
"""COCO JSON: find its annotation files, and convert them with Ultralytics' own converter.

The converter needs categories numbered from 1 without a gap, and the images of each split below one folder. So it gets
annotation files that are rewritten in that way, and links to the images.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.job.spec import Task
from yolo_trainer.text import plain

SPLITS: Mapping[str, re.Pattern[str]] = {
    split: re.compile(rf"(^|[^a-z]){word}([^a-z]|$)", re.IGNORECASE)
    for split, word in (("train", "train(ing)?"), ("val", "(val|valid|validation)"), ("test", "test(ing)?"))
}
OTHER_TASKS = ("captions", "panoptic", "stuff", "image_info")
KEYPOINTS = "keypoints"
PROBLEMS_SHOWN = 5
COPIED = ("id", "image_id", "bbox", "segmentation", "keypoints", "iscrowd")
"""What the converter reads of an annotation, besides the category."""


def find_annotations(place: Path, task: Task) -> dict[str, Path] | None:
    """Return the annotation file of each split; None where `train` or `val` has none.

    Raises:
        DatasetInvalidError: a split has several.

    """
    files: dict[str, list[Path]] = {}
    for file in sorted((*place.glob("*.json"), *place.glob("*/*.json"))):
        split = _split_of(file, place)
        if split is not None and _is_coco(file):
            files.setdefault(split, []).append(file)
    chosen = {split: _chosen(found, task) for split, found in files.items()}
    if not {"train", "val"} <= chosen.keys():
        return None
    for split, found in chosen.items():
        if len(found) > 1:
            names = ", ".join(str(file.relative_to(place)) for file in found)
            raise DatasetInvalidError(f"{place} has several COCO files for {split}: {names}; leave one of them there")
    return {split: found[0] for split, found in chosen.items()}


def convert(files: Mapping[str, Path], place: Path, task: Task, target: Path) -> Path:
    """Convert a COCO data set, and return the new `data.yaml`; Ultralytics is imported.

    Args:
        files: the annotation file of each split.
        place: the folder that they and the images are in.
        task: what the labels are for; boxes for `detect`, outlines for `segment` and `obb`, keypoints for `pose`.
        target: a folder to convert into; what it holds is replaced.

    Raises:
        DatasetInvalidError: an annotation file does not say what it must, or an image is missing.

    """
    from ultralytics.data.converter import convert_coco

    shutil.rmtree(target, ignore_errors=True)
    (target / "annotations").mkdir(parents=True)
    contents = {split: read_annotations(file) for split, file in files.items()}
    try:
        categories = _categories(contents)
        links = {}
        for split, content in contents.items():
            links[split] = _rewritten(content, files[split], place, categories)
            (target / "annotations" / f"{split}.json").write_text(json.dumps(content))
        result = target / "yolo"
        outlines, keypoints = task in ("segment", "obb"), task == "pose"
        if outlines:
            _refuse_masks(contents, files)
        convert_coco(str(target / "annotations"), str(result), outlines, keypoints, cls91to80=False)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        names = ", ".join(file.name for file in files.values())
        raise DatasetInvalidError(
            f"{names}: not COCO JSON as Ultralytics converts it ({type(error).__name__}: {plain(str(error))}): give "
            "images with id, file_name, width and height, and annotations with image_id, category_id and bbox"
        ) from error
    for split, images in links.items():
        _link(images, result / "images" / split, result / "labels" / split)
    description: dict[str, Any] = {split: f"images/{split}" for split in links}
    description["names"] = [categories[number] for number in sorted(categories)]
    if keypoints:
        description["kpt_shape"] = [_keypoints(contents["train"], files["train"]), 3]
    (result / DESCRIPTION).write_text(
        yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    return result / DESCRIPTION


def _split_of(file: Path, place: Path) -> str | None:
    """Return the split in a file's name, or else in its folder's name."""
    words = [re.sub(r"\d+$", "", file.stem)] + ([file.parent.name] if file.parent != place else [])
    return next((split for word in words for split, pattern in SPLITS.items() if pattern.search(word)), None)


def _is_coco(file: Path) -> bool:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"annotations"') >= 0 and content.find(b'"images"') >= 0
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def _chosen(files: list[Path], task: Task) -> list[Path]:
    """Return those of a split's files that fit the task."""
    fitting = [file for file in files if not file.stem.startswith(OTHER_TASKS)]
    preferred = [file for file in fitting if (KEYPOINTS in file.stem) == (task == "pose")]
    return preferred or fitting or files


def read_annotations(file: Path) -> dict[str, Any]:
    """Read an annotation file. Raise DatasetInvalidError if it is no JSON, or lacks a list."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DatasetInvalidError(f"{file} is not UTF-8: save it as UTF-8") from error
    except ValueError as error:
        raise DatasetInvalidError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _LISTS):
        raise DatasetInvalidError(f"{file} must hold the lists {', '.join(_LISTS)}")
    return content


_LISTS = ("images", "annotations", "categories")


def _categories(contents: Mapping[str, dict[str, Any]]) -> dict[int, str]:
    """Return the name of each category, by its number, without those that only head a group."""
    names: dict[int, str] = {}
    groups, used = set(), set()
    for content in contents.values():
        for category in content["categories"]:
            number, name = int(category["id"]), str(category["name"])
            if names.setdefault(number, name) != name:
                raise DatasetInvalidError(
                    f"category {number} is {names[number]} in one annotation file and {name} in another: number the "
                    "categories alike"
                )
            groups.add(category.get("supercategory"))
        used |= {annotation["category_id"] for annotation in content["annotations"]}
    unknown = sorted(used - names.keys(), key=str)
    if unknown:
        raise DatasetInvalidError(f"annotations have the category {unknown[0]}, which categories does not list")
    return {number: name for number, name in names.items() if number in used or name not in groups}


def _rewritten(content: dict[str, Any], file: Path, place: Path, categories: Mapping[int, str]) -> dict[str, Path]:
    """Give every image a name without folders and every category its number plus 1; return the images by name."""
    numbers = {number: index + 1 for index, number in enumerate(sorted(categories))}
    folders = list(_folders(file, place))
    images: dict[str, Path] = {}
    missing = []
    for image in content["images"]:
        named = str(image["file_name"])
        found = next((folder / named for folder in folders if (folder / named).is_file()), None)
        if found is None:
            missing.append(named)
            continue
        flat = named.strip("/").replace("/", "__")
        image["file_name"] = flat if flat not in images else f"{image['id']}__{flat}"
        images[image["file_name"]] = found
    if missing:
        more = f" and {len(missing) - PROBLEMS_SHOWN} more" if len(missing) > PROBLEMS_SHOWN else ""
        raise DatasetInvalidError(
            f"{file.relative_to(place)} names images that are not there: {', '.join(missing[:PROBLEMS_SHOWN])}{more}; "
            f"looked for below {', '.join(str(folder.relative_to(place)) for folder in folders)}"
        )
    content["annotations"] = [
        {key: annotation[key] for key in COPIED if key in annotation}
        | {"category_id": numbers[annotation["category_id"]]}
        for annotation in content["annotations"]
    ]
    return images


def _folders(file: Path, place: Path) -> Iterator[Path]:
    """Return the folders that an image's `file_name` may count from."""
    stem = file.stem.rpartition("_")[2]
    yield file.parent
    for name in ("", "images", "data", stem, f"images/{stem}", *(_split_names(file, place))):
        if (place / name).is_dir():
            yield place / name


def _split_names(file: Path, place: Path) -> tuple[str, ...]:
    split = _split_of(file, place)
    names = ("val", "valid", "validation") if split == "val" else (str(split),)
    return (*names, *(f"images/{name}" for name in names))


def _refuse_masks(contents: Mapping[str, dict[str, Any]], files: Mapping[str, Path]) -> None:
    for split, content in contents.items():
        for annotation in content["annotations"]:
            if isinstance(annotation.get("segmentation"), dict) and not annotation.get("iscrowd"):
                raise DatasetInvalidError(
                    f"{files[split].name}: annotation {annotation.get('id')} has an RLE mask: export polygons instead"
                )


def _link(images: Mapping[str, Path], folder: Path, labels: Path) -> None:
    """Link a split's images into a folder; an image without annotations gets an empty label file."""
    folder.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for name, file in images.items():
        (folder / name).symlink_to(file.resolve())
        (labels / name).with_suffix(".txt").touch()


def _keypoints(content: Mapping[str, Any], file: Path) -> int:
    counts = {len(annotation["keypoints"]) // 3 for annotation in content["annotations"] if annotation.get("keypoints")}
    if len(counts) != 1:
        raise DatasetInvalidError(
            f"{file.name}: the task pose needs annotations with the same number of keypoints each"
        )
    return counts.pop()
