# SPDX-License-Identifier: AGPL-3.0-only
"""Which images a split has, and where their labels are: exactly by the rules of Ultralytics' own loaders.

Their names are strings, as Ultralytics has them, since its label cache compares them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.text import EncodingError, read_utf8

IMAGE_SUFFIXES = frozenset(
    {"avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"}
)
"""What Ultralytics reads (`IMG_FORMATS`)."""
APPLE_DOUBLE = "._"
"""How the names of files begin in which macOS keeps attributes of others."""


def images_in(source: Path) -> list[str]:
    """Return the images in a folder, or those that a text file lists, one path a line.

    Files and folders whose names begin with a dot are passed over, and links to folders are followed.

    Raises:
        DatasetInvalidError: the list is not UTF-8, or has a path that Ultralytics would misread.

    """
    if source.is_dir():
        pattern = str(Path(glob.escape(str(source))) / "**" / "*.*")
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - pathlib follows no links to folders
        return sorted(name for name in found if _is_image(name))
    return sorted(_listed(source))


def class_images(folder: Path) -> dict[str, list[str]]:
    """Return the images of each class of a classification split: those in its folder and in all folders below."""
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return {name: list(_class_images(folder / name)) for name in classes}


def label_name(image: str) -> str:
    """Return where Ultralytics looks for labels: the last `images` in the path becomes `labels`, the suffix `.txt`."""
    return f"{'/labels/'.join(image.rsplit('/images/', 1)).rsplit('.', 1)[0]}.txt"


def _is_image(name: str) -> bool:
    return name.rpartition(".")[-1].lower() in IMAGE_SUFFIXES


def _listed(source: Path) -> Iterator[str]:
    if _is_image(source.name):
        raise DatasetInvalidError(f"{source} is one image: name a folder, or a text file with one path a line")
    try:
        lines = read_utf8(source).strip().splitlines()
    except EncodingError as error:
        raise DatasetInvalidError(f"{source} {error}") from error
    for line in lines:
        if not _is_image(line.rstrip()):
            continue
        if line != line.rstrip():
            raise DatasetInvalidError(f"{source}: '{line}' has spaces at its end: remove them")
        if not line.startswith(("/", "./")):
            raise DatasetInvalidError(
                f"{source}: '{line}' must be an absolute path, or begin with './' to count from this file"
            )
        yield f"{source.parent}/{line[2:]}" if line.startswith("./") else line


def _class_images(folder: Path) -> Iterator[str]:
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if _is_image(name) and not name.startswith(APPLE_DOUBLE):
                yield f"{place}/{name}"
