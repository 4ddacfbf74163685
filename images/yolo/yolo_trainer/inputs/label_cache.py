# SPDX-License-Identifier: AGPL-3.0-only
"""Ultralytics' own reading of a data set, done once before the training run, and kept in its own label cache format.

    <output>/dataset/labels/<hash>.cache     removed when the job has completed

Ultralytics keeps these caches beside the labels, and repairs JPEGs in place; here neither it nor a training run writes
to the user's data. A cache is valid while no image and no label file has changed, by Ultralytics' own hash. What
is known of the images comes from our own check, so that no image is opened twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.dataset import Dataset, Examined, mapped, raise_for
from yolo_trainer.inputs.image_lists import label_name
from yolo_trainer.inputs.images import Inspection
from yolo_trainer.text import plain

FOLDER = "dataset"
"""What of the data set is kept in the output while a job is not completed."""


def working_folder(output: Path) -> Path:
    """Return where a job keeps label caches and converted data."""
    return output / FOLDER


def keep_in(output: Path) -> None:
    """Have Ultralytics keep its label caches with a job's output, and leave the user's files alone."""
    from ultralytics.data import dataset, utils

    folder = working_folder(output) / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    scan = dataset.YOLODataset._load_or_scan_cache
    scan = getattr(scan, "original", scan)

    def place(path: Path) -> Path:
        return path if path.parent == folder else folder / f"{hashlib.sha256(str(path).encode()).hexdigest()}.cache"

    def load(path: Path) -> Any:
        return utils.load_dataset_cache_file(place(path))

    def save(prefix: str, path: Path, content: dict[str, Any], version: str) -> None:
        utils.save_dataset_cache_file(prefix, place(path), content, version)

    def load_or_scan(self: Any, _path: Path, cache_hash: str) -> Any:
        # By its hash: train and val may have their labels in one folder, and Ultralytics names a cache after that.
        return scan(self, folder / f"{cache_hash}.cache", cache_hash)

    load_or_scan.original = scan  # type: ignore[attr-defined]  # so that a second call wraps the original, too
    dataset.load_dataset_cache_file = load
    dataset.save_dataset_cache_file = save
    dataset.YOLODataset._load_or_scan_cache = load_or_scan
    utils._replace_image = _leave_alone


def read_as_ultralytics(
    examined: Examined, arguments: Mapping[str, Any], output: Path, also: str | None = None
) -> None:
    """Have Ultralytics read the labels of a data set that was examined, and check that it drops nothing.

    Args:
        examined: the data set, and what was seen in its images.
        arguments: the arguments that Ultralytics will train with.
        output: the job's output folder, in which the label caches are kept.
        also: a split that is validated on besides.

    Raises:
        DatasetInvalidError: Ultralytics cannot read an image or a label file.

    """
    from ultralytics.cfg import get_cfg

    keep_in(output)
    settings = get_cfg(overrides=dict(arguments))
    settings.cache = False  # of images, which are not needed
    dataset = examined.dataset
    data = _described(dataset, settings, working_folder(output))
    _check_decoding(examined, settings, data)
    with _known(examined.images):
        validated = dict.fromkeys(("val", split) for split in (settings.split, also or settings.split))
        for mode, split in (("train", "train"), *validated):
            try:
                images = image_names(_built(data, settings, mode, split))
            except (RuntimeError, ValueError, FileNotFoundError) as error:
                raise DatasetInvalidError(f"{split} cannot be trained on: {plain(str(error))}") from error
            dropped = sorted(set(wanted(dataset, split, settings)) - set(images))
            raise_for(
                (f"{image}: {_reason(image, data, settings)}" for image in dropped),
                f"of the images in {split} cannot be read by Ultralytics",
            )


def wanted(dataset: Dataset, split: str, settings: Any) -> list[str]:
    """Return the images of a split that a training run with these settings uses."""
    from ultralytics.data.utils import get_split_fraction

    names = dataset.names(split)
    complete = (dataset.description or {}).get("complete") or (dataset.source / ".ndjson.yaml").is_file()
    fraction = 1.0 if complete else get_split_fraction(settings.fraction, split)
    count = fraction if isinstance(fraction, int) else max(1, round(len(names) * fraction))
    if count >= len(names):
        return names
    if dataset.description is not None:
        return names[:count]
    import numpy as np

    return [names[index] for index in np.linspace(0, len(names) - 1, count, dtype=int)]


def image_names(loaded: Any) -> list[str]:
    """Return the images of a data set that Ultralytics has loaded."""
    return list(loaded.im_files) if hasattr(loaded, "im_files") else [str(sample[0]) for sample in loaded.samples]


def _described(dataset: Dataset, settings: Any, folder: Path) -> dict[str, Any]:
    """Return a data set's description as Ultralytics' trainer has it."""
    from ultralytics.data.utils import check_cls_dataset, check_det_dataset

    given = str(dataset.written_to(folder))
    data: dict[str, Any] = (
        check_cls_dataset(given, split=settings.split)
        if settings.task == "classify"
        else check_det_dataset(given, autodownload=False, split=settings.split)
    )
    return data | {"names": {0: "item"}, "nc": 1} if settings.single_cls else data


def _built(data: dict[str, Any], settings: Any, mode: str, split: str) -> Any:
    """Build a data set as the trainer does."""
    from ultralytics.data import ClassificationDataset, build_yolo_dataset

    if settings.task == "classify":
        return ClassificationDataset(data[split], settings, augment=mode == "train", prefix=split, names=data["names"])
    return build_yolo_dataset(settings, data[split], 1, data, mode=mode)


def _check_decoding(examined: Examined, settings: Any, data: Mapping[str, Any]) -> None:
    """Decode the images in formats that only decoding can check, with the reader that the training run uses."""
    import cv2
    from ultralytics.data import ClassificationDataset
    from ultralytics.utils.patches import imread

    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(data.get("channels", 3), cv2.IMREAD_UNCHANGED)

    def decodes(image: str) -> bool:
        try:
            found = ClassificationDataset.imread(image) if settings.task == "classify" else imread(image, flags=flags)
        except cv2.error:
            return False
        return found is not None

    doubtful = [image for image, seen in examined.images.items() if not seen.decoded]
    raise_for(
        (
            f"{image}: OpenCV cannot decode it: it is damaged, or of a kind that has to be saved as JPEG or PNG"
            for image, fine in zip(doubtful, mapped(decodes, doubtful), strict=True)
            if not fine
        ),
        "of the images cannot be used",
    )


def _reason(image: str, data: Mapping[str, Any], settings: Any) -> str:
    """Return why Ultralytics drops an image."""
    from ultralytics.data.utils import verify_image, verify_image_label

    if settings.task == "classify":
        message = verify_image(((image, 0), ""))[-1]
    else:
        points, figures = data.get("kpt_shape", (0, 0))
        pose = settings.task == "pose"
        label = label_name(image)
        message = verify_image_label(
            (image, label, "", pose, len(data["names"]), points, figures, settings.single_cls)
        )[-1]
    return plain(str(message)).removeprefix(f"{image}: ") or "it is left out"


@contextmanager
def _known(images: Mapping[str, Inspection]) -> Iterator[None]:
    """Let Ultralytics take what is known of images, and open no others."""
    from ultralytics.data import utils

    check = utils.check_image

    def check_image(image: str) -> tuple[str, tuple[int, int]]:
        seen = images.get(image)
        if seen is None or seen.shape is None:
            found: tuple[str, tuple[int, int]] = check(image)
            return found
        return "", seen.shape

    utils.check_image = check_image
    try:
        yield
    finally:
        utils.check_image = check


def _leave_alone(image: str, _write: object) -> None:
    """Replace Ultralytics' repair of a JPEG: check that the image can be read, and write nothing."""
    with Image.open(image) as opened:
        opened.load()
