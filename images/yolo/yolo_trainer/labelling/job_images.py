# SPDX-License-Identifier: AGPL-3.0-only
"""Label the images of a job, in its preparation."""

from __future__ import annotations

from pathlib import Path

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job.spec import Job
from yolo_trainer.labelling.label import label
from yolo_trainer.labelling.request import checked_request

FOLDER = "labelled"
"""Where the data set is, in the job's output; it stays there."""


def labelled(job: Job) -> Path:
    """Label the images of a job that has `dataset.label`, and return the folder of the data set.

    Raises:
        ConfigInvalidError: no server was named: only a preparation labels.
        DatasetInvalidError: as `label`.
        TrainerError: as `label`.

    """
    assert job.dataset.label is not None, "only such a job is labelled"
    if job.label_server is None:
        raise ConfigInvalidError(
            "the images have no labels, and labelServer is missing: with dataset.label, prepare the job first, or name "
            "a SAM3 server"
        )
    request = {
        **job.dataset.label.model_dump(by_alias=True),
        "images": job.dataset.path,
        "output": job.output.path / FOLDER,
        "server": job.label_server,
        "task": job.task,
        "seed": job.training.seed,
        "copyImages": False,
    }
    label(checked_request(request, "dataset.label"))
    return job.output.path / FOLDER
