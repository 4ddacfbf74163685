# SPDX-License-Identifier: AGPL-3.0-only
"""Validate weights on a split of the data set, as Ultralytics does at the end of a training run."""

from __future__ import annotations

from pathlib import Path

from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.training.metrics import metrics_of

_ARGUMENTS = ("data", "imgsz", "batch", "device", "workers", "plots", "conf", "iou", "max_det", "single_cls", "classes")
"""Training arguments that decide how Ultralytics validates."""


def validate(request: TrainingRequest, weights: Path, split: str, folder: Path) -> dict[str, float]:
    """Validate weights on a split; plots go into `folder`.

    Raises:
        torch.OutOfMemoryError: the GPU, or what was granted of it, is full.

    """
    from ultralytics import YOLO

    arguments = request.arguments()
    given = {name: arguments[name] for name in _ARGUMENTS if name in arguments}
    figures = YOLO(weights, task=request.job.task).val(**given, split=split, save_dir=str(folder))
    return metrics_of(request.job.task, figures.results_dict)
