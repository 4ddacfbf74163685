# SPDX-License-Identifier: AGPL-3.0-only
"""Recognise other formats of data sets by their files; the error says what to do with them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from yolo_trainer.inputs.image_lists import IMAGE_SUFFIXES
from yolo_trainer.job.spec import Task

LOOKED_AT = 5000
"""Files whose names and first bytes are read."""
HEAD = 4096
"""Bytes of a file that show what it is."""
FORMATS: tuple[tuple[str, str, bytes], ...] = (
    ("Pascal VOC", "*.xml", b"<annotation"),
    ("CreateML", "*createml*.json", b""),
    ("Labelme", "*.json", b'"shapes"'),
    ("VGG Image Annotator", "*via*.json", b""),
    ("COCO JSON", "*.json", b'"annotations"'),
    ("TFRecord", "*.tfrecord*", b""),
    ("a table of boxes", "*.csv", b"xmin"),
    ("a table of boxes", "*annotations*.csv", b""),
    ("Darknet", "*.data", b"train"),
    ("Darknet", "_darknet.labels", b""),
    ("Hugging Face", "*.parquet", b""),
    ("Hugging Face", "metadata.jsonl", b""),
    ("LMDB", "data.mdb", b""),
)
"""Name, file name, and what such a file has in its first bytes."""


def foreign_format(place: Path, task: Task) -> str | None:
    """Return what to do with a data set in another format, as part of a sentence; None if no format is recognised."""
    for file in islice(_files(place), LOOKED_AT):
        for name, pattern, content in FORMATS:
            if fnmatch(file.name.lower(), pattern) and (not content or content in _head(file)):
                return _advice(name, file.relative_to(place), task)
    if task != "classify" and any((place / name).is_dir() for name in ("images", "labels", "train")):
        return (
            "for images with YOLO labels write a data.yaml with train, val (their folders of images) and names (the "
            "classes, in the order of their numbers)"
        )
    return None


def _advice(name: str, file: Path, task: Task) -> str:
    found = f"it looks like {name} ({file})"
    if task == "classify":
        return f"{found}: give one folder of images for each class, in train/ and val/"
    if name == "COCO JSON":
        return f"{found}, which is taken with one file for train and one for val: name them so"
    return f"{found}: export it as YOLO with a data.yaml, or as COCO JSON with one file for train and one for val"


def _files(place: Path) -> Iterator[Path]:
    """Return files that are no images, those at the top first."""
    for pattern in ("*", "*/*", "*/*/*"):
        for file in place.glob(pattern):
            if file.suffix.lower().lstrip(".") not in IMAGE_SUFFIXES and not file.name.startswith("._"):
                yield file


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""
