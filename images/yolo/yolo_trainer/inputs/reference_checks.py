# SPDX-License-Identifier: AGPL-3.0-only
"""Check splits, classes and folders that a job names against its data set and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.job.spec import Job
from yolo_trainer.storage import backends


def check_references(job: Job, dataset: Dataset, home: Path) -> None:
    """Check that a data set has the splits and classes that a job names, and that its folder is not the output.

    Raises:
        ConfigInvalidError: it has not, or it is.

    """
    has = ", ".join(dataset.images)
    if job.split not in dataset.images:
        raise ConfigInvalidError(f"training.args.split is {job.split}, and the data set has {has}")
    if job.validation is not None and job.validation.split not in dataset.images:
        raise ConfigInvalidError(
            f"validation.split is {job.validation.split}, and the data set has {has}: add images and labels for it, "
            "or choose another split"
        )
    wanted = job.training.args.get("classes")
    for number in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(number, int) and not 0 <= number < dataset.classes:
            raise ConfigInvalidError(
                f"training.args.classes has {number}, and the data set's classes go from 0 to {dataset.classes - 1}"
            )
    if job.output.path.resolve() == home.resolve():
        raise ConfigInvalidError(
            f"output.path is the data set's own folder {job.output.path}: give the results another one"
        )


def check_weights_kept(job: Job, model: str) -> None:
    """Check that a job without training does not replace the run that its weights come from.

    Raises:
        ConfigInvalidError: its weights are in its output folder.

    """
    if job.mode == "Train" or backends.is_uri(job.model):
        return
    if Path(model).resolve().is_relative_to(job.output.path.resolve()):
        raise ConfigInvalidError(
            f"model {model} is in output.path, whose results this job would replace: give output another folder"
        )


def check_classes(job: Job, model: str, dataset: Dataset) -> None:
    """Check that weights have as many classes as the data set that they are validated on. Needs Ultralytics.

    Raises:
        ConfigInvalidError: they do not.

    """
    from ultralytics.nn.tasks import load_checkpoint

    network: Any = load_checkpoint(model)[0]
    if not job.training.args.get("single_cls") and len(network.names) != dataset.classes:
        raise ConfigInvalidError(
            f"model {model} knows {len(network.names)} classes, and the data set has {dataset.classes}: validate it on "
            "data with the classes that it was trained on"
        )
