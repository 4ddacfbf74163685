# SPDX-License-Identifier: AGPL-3.0-only
"""Labels that an earlier labelling wrote: whether they are those of a request, and what people changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.inputs.image_lists import images_in, label_name
from yolo_trainer.labelling import records
from yolo_trainer.labelling.dataset_folder import CORRECTED, ORIGINAL, REPORT, write_report
from yolo_trainer.labelling.request import LabelRequest
from yolo_trainer.text import EncodingError, read_utf8

_ASKED = {"images", "prompts", "second_pass", "split", "task", "seed"}


def adopt(request: LabelRequest, job: str) -> bool:
    """Return whether the output has the labels of a request; they then belong to the job.

    They have if the job itself had them made, whatever became of the images since, or if another one did, for the same
    request and the same images. Labels without records are made again.
    """
    output = request.output
    parts = (records.FOLDER, ORIGINAL, DESCRIPTION, REPORT)
    if not all((output / part).exists() for part in parts):
        return False
    report = read_report(output)
    if report.get("job") == job:
        return True
    if report.get("digest") != digest(request):
        return False
    write_report(output, {**report, "job": job})
    return True


def digest(request: LabelRequest) -> str:
    """Return what identifies a request and the present versions of its images, and of the labels beside them."""
    asked = request.model_dump_json(include=_ASKED)
    return hashlib.sha256("\n".join([asked, *_versions(request.images)]).encode("utf-8", "surrogateescape")).hexdigest()


def refuse_to_replace_changes(output: Path) -> None:
    """Raise DatasetInvalidError if people changed the labels that an earlier labelling wrote into a folder."""
    if not (output / ORIGINAL).is_file():
        return
    written = {name: each["labels"] for name, each in read_original(output).items()}
    if any((output / CORRECTED).glob("*.json")) or written != read_labels(output):
        raise DatasetInvalidError(
            f"{output} has labels that people changed, and they belong to another request or to other images: to train "
            "on them, name this folder in dataset.path without dataset.label; to label again, move or delete it"
        )


def read_report(output: Path) -> dict[str, Any]:
    """Return what a labelling wrote about itself. Raises OSError."""
    content: dict[str, Any] = json.loads((output / REPORT).read_bytes())
    return content


def read_original(output: Path) -> Mapping[str, Mapping[str, str]]:
    """Return by label file the image, relative to the folder of images, and the labels as they were written."""
    content: Mapping[str, Mapping[str, str]] = json.loads((output / ORIGINAL).read_bytes())
    return content


def read_labels(output: Path) -> dict[str, str]:
    """Return the present content of each label file, by its path below `labels`.

    Raises:
        DatasetInvalidError: a file is not UTF-8.

    """
    folder = output / "labels"
    found = {}
    for file in sorted(folder.glob("*/*.txt")):
        try:
            found[str(file.relative_to(folder))] = read_utf8(file)
        except EncodingError as error:
            raise DatasetInvalidError(f"labels/{file.relative_to(folder)} {error}") from error
    return found


def _versions(images: Path) -> Iterator[str]:
    for name in images_in(images):
        for file in (Path(name), Path(label_name(name))):
            if file.is_file():
                status = file.stat()
                yield f"{file} {status.st_size} {status.st_mtime_ns}"
