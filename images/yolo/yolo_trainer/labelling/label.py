# SPDX-License-Identifier: AGPL-3.0-only
"""Label a folder of images: ask SAM3 for each, check what it found, and write a data set."""

from __future__ import annotations

import io
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, ImageOps

from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError, in_one_sentence
from yolo_trainer.inputs.image_lists import images_in, label_name
from yolo_trainer.inputs.images import inspect_image
from yolo_trainer.inputs.labels import LabelRules
from yolo_trainer.labelling import checks, dataset_folder, earlier, yolo_lines
from yolo_trainer.labelling.agreement import review
from yolo_trainer.labelling.findings import ImageFindings
from yolo_trainer.labelling.records import Records
from yolo_trainer.labelling.request import LabelRequest
from yolo_trainer.labelling.sam3_client import Sam3Client
from yolo_trainer.labelling.splits import difference_hash, groups_of, split_images
from yolo_trainer.text import EncodingError, read_utf8

log = logging.getLogger(__name__)

_SECOND_SHARE = 0.5
"""Of the thresholds, for the second pass: what it finds with a lower score confirms a label, too."""
_JPEG_QUALITY = 95
_SAY_EVERY = 30.0


@dataclass(frozen=True)
class Labelled:
    """What came of a labelling."""

    images: dict[str, int]
    """Images in each split."""
    objects: dict[str, int]
    """Objects of each class."""
    kept: int
    """Images whose labels were there before."""
    doubtful: int
    """Labels with doubts, and objects that may lack a label."""

    def __str__(self) -> str:
        images = ", ".join(f"{count} {split}" for split, count in self.images.items())
        objects = ", ".join(f"{count} {name}" for name, count in self.objects.items())
        return f"{images} images ({self.kept} had labels); objects: {objects}; {self.doubtful} to review"


def label(request: LabelRequest, job: str | None = None) -> Labelled:
    """Label the images that have no labels, and write the data set. A labelling that was killed continues.

    Args:
        request: what to label.
        job: UID of the job whose labels these are; None outside a cluster.

    Raises:
        ConfigInvalidError: the server refuses the request, or a folder cannot be used.
        DatasetInvalidError: an image or an existing label file cannot be read, a class has too few objects, or people
            changed the labels that an earlier labelling wrote there.
        TrainerError: the server gives no answer for minutes.

    """
    began = time.monotonic()
    names = _images(request)
    earlier.refuse_to_replace_changes(request.output)
    version = earlier.digest(request)
    _check_images(request, names)
    findings = _kept(request, names)
    kept = len(findings)
    asked, waited = _ask(request, [name for name in names if name not in findings])
    findings |= asked
    counts = checks.count_objects(findings.values(), request.classes)
    checks.check_counts(counts, len(names), request)
    splits = _split(request, findings)
    for sentence in checks.warnings(splits, request.classes):
        log.warning("%s", sentence)
    labels = review(findings.values(), request.classes)
    dataset_folder.write_dataset(request, splits)
    dataset_folder.write_review(request, labels)
    images = {split: len(own) for split, own in splits.items()}
    doubtful = sum(bool(each.doubts) for each in labels)
    asked_for = request.model_dump(mode="json", by_alias=True, exclude={"token_file", "output"})
    figures = {"images": images, "kept": kept, "objects": counts, "doubtful": doubtful, "waitedSeconds": round(waited)}
    seconds = round(time.monotonic() - began, 1)
    owner = {"job": job, "digest": version}
    dataset_folder.write_report(request.output, {"request": asked_for, **figures, "seconds": seconds, **owner})
    return Labelled(images, counts, kept, doubtful)


def _images(request: LabelRequest) -> list[str]:
    """Return the images, relative to their folder."""
    if not request.images.is_dir():
        raise ConfigInvalidError(f"images {request.images} is no folder")
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigInvalidError(f"output {request.output} cannot be written ({error.strerror})") from error
    found = [str(Path(name).relative_to(request.images)) for name in images_in(request.images)]
    if len(found) < 2:
        raise DatasetInvalidError(
            f"{request.images} has {len(found)} images: at least 2 are needed to train and validate"
        )
    return found


def _check_images(request: LabelRequest, names: Iterable[str]) -> None:
    with ThreadPoolExecutor() as pool:
        inspected = zip(names, pool.map(lambda name: inspect_image(request.images / name), names), strict=True)
        problems = [f"{name}: {found.problem}" for name, found in inspected if found.problem]
    if problems:
        raise DatasetInvalidError(in_one_sentence(problems))


def _kept(request: LabelRequest, names: Iterable[str]) -> dict[str, ImageFindings]:
    """Return the labels that images have already; their numbers mean the request's classes."""
    rules = LabelRules(request.task, len(request.classes), names=request.classes)
    kept: dict[str, ImageFindings] = {}
    problems = []
    for name in names:
        file = Path(label_name(str(request.images / name)))
        if not file.is_file():
            continue
        try:
            found = yolo_lines.kept(name, _size(request.images / name), read_utf8(file), rules)
        except EncodingError as error:
            found = str(error)
        if isinstance(found, str):
            problems.append(f"{file}: {found}")
        else:
            kept[name] = found
    if problems:
        raise DatasetInvalidError(in_one_sentence(problems))
    return kept


def _ask(request: LabelRequest, names: list[str]) -> tuple[dict[str, ImageFindings], float]:
    """Return what SAM3 finds on the images, and the seconds that requests waited for its GPU."""
    records = Records(request.output, request.fingerprint)
    client = Sam3Client(request.server, request.prompts, request.classes, _token(request))
    progress = _Progress(len(names))

    def one(name: str) -> ImageFindings:
        file = request.images / name
        found = records.find(name, file)
        if found is None:
            found = _found(client, request, name)
            records.add(found, file)
        progress.add(found, request.classes)
        return found

    with ThreadPoolExecutor(request.parallel, thread_name_prefix="label") as pool:
        futures = [pool.submit(one, name) for name in names]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((future for future in done if future.exception() is not None), None)
        if failed is not None:
            client.end()
            pool.shutdown(cancel_futures=True)
            failed.result()
    return {name: future.result() for name, future in zip(names, futures, strict=True)}, client.waited


def _found(client: Sam3Client, request: LabelRequest, name: str) -> ImageFindings:
    file = request.images / name
    width, height, objects = client.find(name, file.read_bytes())
    second = None
    if request.second_pass:
        _, _, mirrored = client.find(name, _mirrored(file), _SECOND_SHARE)
        second = tuple(found.mirrored(width) for found in mirrored)
    return ImageFindings(name, width, height, objects, second)


def _mirrored(file: Path) -> bytes:
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    buffer = io.BytesIO()
    ImageOps.mirror(upright).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _size(file: Path) -> tuple[int, int]:
    """Return width and height, upright, in pixels."""
    with Image.open(file) as image:
        return ImageOps.exif_transpose(image).size


def _token(request: LabelRequest) -> str:
    if request.token_file is None:
        return ""
    try:
        return request.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalidError(f"tokenFile {request.token_file} cannot be read: {error}") from error


def _split(request: LabelRequest, findings: Mapping[str, ImageFindings]) -> dict[str, list[ImageFindings]]:
    with ThreadPoolExecutor() as pool:
        hashes = dict(
            zip(findings, pool.map(lambda name: difference_hash(request.images / name), findings), strict=True)
        )
    groups = groups_of(hashes)
    splits = split_images(groups, request.split, request.seed)
    if not {"train", "val"} <= splits.keys():
        raise DatasetInvalidError(
            f"the {len(findings)} images look alike, so that none is left to validate with: add images of other scenes"
        )
    return {split: [findings[name] for name in own] for split, own in splits.items()}


class _Progress:
    """Says every half minute how far the labelling is."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._done = 0
        self._objects = Counter[str]()
        self._said = time.monotonic()
        self._lock = Lock()

    def add(self, found: ImageFindings, classes: tuple[str, ...]) -> None:
        with self._lock:
            self._done += 1
            self._objects.update(classes[each.class_id] for each in found.objects)
            now = time.monotonic()
            if now - self._said < _SAY_EVERY and self._done < self._images:
                return
            self._said = now
            objects = ", ".join(f"{name} {self._objects[name]}" for name in classes)
            log.info("%d of %d images labelled; objects: %s", self._done, self._images, objects)
