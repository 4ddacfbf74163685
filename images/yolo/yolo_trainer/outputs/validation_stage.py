# SPDX-License-Identifier: AGPL-3.0-only
"""Validates weights on a split of the data set: at the end of a training, or as all that a job does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.inputs.training_arguments import Request, work_folder
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.export_stage import BEST
from yolo_trainer.outputs.manifest import Manifest, pending_validation, with_validation
from yolo_trainer.outputs.publish import Publisher
from yolo_trainer.termination import ConfigInvalidError
from yolo_trainer.training.metrics import metrics_of

_ARGUMENTS = ("data", "imgsz", "batch", "device", "workers", "plots", "conf", "iou", "max_det", "single_cls", "classes")
"""Arguments of a training that decide how Ultralytics validates."""


def validate(request: Request, weights: Path, split: str, folder: Path) -> dict[str, float]:
    """Validate weights on a split; plots go into `folder`.

    Raises:
        torch.OutOfMemoryError: the GPU, or what was granted of it, is full.

    """
    from ultralytics import YOLO

    arguments = request.arguments()
    given = {name: arguments[name] for name in _ARGUMENTS if name in arguments}
    figures = YOLO(weights, task=request.job.task).val(**given, split=split, save_dir=str(folder))
    return metrics_of(request.job.task, figures.results_dict)


def validate_best(job: Job, manifest: Manifest, publisher: Publisher, new_request: Callable[[], Request]) -> Manifest:
    """Validate the published best weights of a training on a further split, and publish figures and plots.

    Raises:
        torch.OutOfMemoryError: the GPU, or what was granted of it, is full.
        OSError: the volume is full or cannot be written.
        StorageError: `output.uri` cannot be read or written.

    """
    work, split = work_folder(job.output.path), pending_validation(job, manifest)
    assert split is not None, "a validation is pending"
    shutil.rmtree(work, ignore_errors=True)
    publisher.bring(manifest, BEST, work / BEST)
    figures = validate(new_request(), work / BEST, split, work / split)
    plots = sorted(str(file.relative_to(work)) for file in (work / split).rglob("*") if file.is_file())
    return publisher.add(with_validation(manifest, split, figures), plots)


def check_classes(job: Job, model: str, dataset: Dataset) -> None:
    """See that weights know as many classes as the data set has that they are validated on. Needs Ultralytics.

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
