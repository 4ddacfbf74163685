# SPDX-License-Identifier: AGPL-3.0-only
"""The first results of a job without training: metrics of its weights, or the weights themselves, to be exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from yolo_trainer.inputs.preparation_record import Prepared
from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.outputs.manifest import BEST_WEIGHTS, Manifest, Run, describe, with_validation
from yolo_trainer.training.progress import ProgressTracker, Stage
from yolo_trainer.training.validation import validate


def make_first_results(
    prepared: Prepared, request: TrainingRequest, tracker: ProgressTracker, peak_mib: Callable[[], int]
) -> Manifest:
    """Make the first results of a job in its work folder, and describe them.

    Raises:
        torch.OutOfMemoryError: the GPU, or what was granted of it, is full.
        OSError: the volume is full or cannot be written.

    """
    job, images = request.job, prepared.dataset.images
    if job.mode == "Export":
        (request.work / BEST_WEIGHTS).parent.mkdir()
        shutil.copyfile(prepared.model, request.work / BEST_WEIGHTS)
        return describe(job, images, Run({}, 0, None, 0, peak_mib()), tracking={})
    split = job.validation.split if job.validation is not None else job.split
    tracker.enter(Stage.VALIDATING)
    figures = validate(request, Path(prepared.model), split, request.work)
    tracker.finish(figures)
    manifest = describe(job, images, Run(figures, 0, None, request.batch, peak_mib()), tracking={})
    return with_validation(manifest, split, figures)
