# SPDX-License-Identifier: AGPL-3.0-only
"""Check that a run has loaded all images that were checked: Ultralytics omits what it cannot read, and continues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.dataset import PROBLEMS_SHOWN, Dataset
from yolo_trainer.inputs.label_cache import image_names, wanted

_NOT_READ = re.compile(r"Image Not Found (.+)")
"""How Ultralytics says that it cannot decode an image, in the middle of an epoch."""


def check_trained(trainer: Any, dataset: Dataset) -> None:
    """Compare the images that a trainer has loaded with those that were checked. Call when its data loaders exist.

    Raises:
        DatasetInvalidError: they differ in number.

    """
    for split, loader in (("train", trainer.train_loader), (trainer.args.split, trainer.test_loader)):
        loaded, found = image_names(loader.dataset), wanted(dataset, split, trainer.args)
        counts = trainer.args.fraction == 1.0 and len(found) != dataset.images[split]
        if len(loaded) == len(found) and not counts:
            continue
        left_out, added = sorted(set(found) - set(loaded)), len(loaded) - len(found)
        names = "; ".join(left_out[:PROBLEMS_SHOWN]) or f"{added} more than were checked"
        more = f"; and {len(left_out) - PROBLEMS_SHOWN} more" if len(left_out) > PROBLEMS_SHOWN else ""
        raise DatasetInvalidError(
            f"{split} had {dataset.images[split]} images when the data set was checked, has {len(found)} now, and "
            f"{len(loaded)} of them can be trained on: {names}{more}. Leave the data unchanged while its job is not "
            "finished, and apply the job again"
        )


@contextmanager
def decoding() -> Iterator[None]:
    """Name the image that could not be decoded, if that ends a run.

    Raises:
        DatasetInvalidError: an image could not be decoded.

    """
    try:
        yield
    except FileNotFoundError as error:
        found = _NOT_READ.search(str(error))
        if found is None:
            raise
        raise DatasetInvalidError(
            f"{found[1].strip()}: OpenCV cannot decode it: it is damaged, or of a kind that has to be saved as JPEG or "
            "PNG"
        ) from error
