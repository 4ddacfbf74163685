# SPDX-License-Identifier: AGPL-3.0-only
"""Remove what only an unfinished job needs."""

from __future__ import annotations

import shutil

from yolo_trainer.inputs.label_cache import working_folder
from yolo_trainer.inputs.preparation_record import RECORD
from yolo_trainer.job.spec import Job
from yolo_trainer.training.checkpoint_mirror import CheckpointMirror
from yolo_trainer.training.checkpoint_store import CheckpointStore


def clean_up(job: Job, mirror: CheckpointMirror | None) -> None:
    """Remove the checkpoint (without `output.keepCheckpoint`) and fetched or converted data of a completed job.

    Raises:
        StorageError: the copy of the checkpoint behind `output.uri` cannot be removed.

    """
    checkpoint = job.output.checkpoint_folder
    if job.output.keep_checkpoint:
        CheckpointStore(checkpoint, job.output.work_folder, job.job.uid).keep_last()
    else:
        shutil.rmtree(checkpoint, ignore_errors=True)
    if mirror is not None:
        (mirror.remove_out_of_memory_record if job.output.keep_checkpoint else mirror.remove)()
    for folder in (working_folder(job.output.path), *([] if job.cache else [job.cache_path])):
        shutil.rmtree(folder, ignore_errors=True)
    (job.output.path / RECORD).unlink(missing_ok=True)
