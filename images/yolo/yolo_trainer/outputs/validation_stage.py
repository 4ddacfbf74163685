# SPDX-License-Identifier: AGPL-3.0-only
"""Validate published weights on a further split (`validation.split`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import BEST_WEIGHTS, Manifest, pending_validation, with_validation
from yolo_trainer.outputs.publish import Publisher
from yolo_trainer.training.validation import validate


def validate_best(
    job: Job, manifest: Manifest, publisher: Publisher, new_request: Callable[[], TrainingRequest]
) -> Manifest:
    """Validate the published best weights on a further split, and publish metrics and plots.

    Raises:
        torch.OutOfMemoryError: the GPU, or what was granted of it, is full.
        OSError: the volume is full or cannot be written.
        StorageError: `output.uri` cannot be read or written.

    """
    work, split = job.output.work_folder, pending_validation(job, manifest)
    assert split is not None, "a validation is pending"
    shutil.rmtree(work, ignore_errors=True)
    publisher.copy_to(manifest, BEST_WEIGHTS, work / BEST_WEIGHTS)
    figures = validate(new_request(), work / BEST_WEIGHTS, split, work / split)
    plots = sorted(str(file.relative_to(work)) for file in (work / split).rglob("*") if file.is_file())
    return publisher.add(with_validation(manifest, split, figures), plots)
