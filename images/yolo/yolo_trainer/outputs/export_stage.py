# SPDX-License-Identifier: AGPL-3.0-only
"""Make the exports of a published run: each is published when it is made, and a failed one delays no other."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from yolo_trainer.job.spec import Job
from yolo_trainer.outputs import exports
from yolo_trainer.outputs.exports import ExportFailedError
from yolo_trainer.outputs.manifest import BEST_WEIGHTS, Manifest, pending_exports, with_export
from yolo_trainer.outputs.publish import Publisher

log = logging.getLogger(__name__)


def make_exports(
    job: Job, manifest: Manifest, publisher: Publisher, images: Sequence[Path], torch_device: str
) -> Manifest:
    """Make every export that is still pending, and return the manifest with them.

    Raises:
        Exception: where the GPU has too little memory for one, as PyTorch or CUDA's libraries raise it: that one and
            those after it are left to a later attempt.
        OSError: the volume is full or cannot be written.
        StorageError: `output.uri` cannot be read or written.

    """
    work = job.output.work_folder
    for name in pending_exports(job, manifest):
        shutil.rmtree(work, ignore_errors=True)
        publisher.copy_to(manifest, BEST_WEIGHTS, work / BEST_WEIGHTS)
        try:
            made = exports.export(work / BEST_WEIGHTS, name, job.training.image_size, images, torch_device)
        except ExportFailedError as error:
            log.error("The export to %s failed: %s", name, error)  # noqa: TRY400 - the traceback is the exporter's
            manifest = publisher.add(with_export(job, manifest, name, str(error)))
            continue
        file = str(made.file.relative_to(work))
        manifest = publisher.add(with_export(job, manifest, name, (file, made.difference)), [file])
    shutil.rmtree(work, ignore_errors=True)
    return manifest
