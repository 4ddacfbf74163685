# SPDX-License-Identifier: AGPL-3.0-only
"""Label the images of a job, in its preparation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.job.spec import Job
from yolo_trainer.labelling.label import label
from yolo_trainer.labelling.request import checked_request

log = logging.getLogger(__name__)

FOLDER = "labelled"
"""Where the data set is, in the job's output; it stays there."""


def labelled(job: Job) -> Path:
    """Return the data set of a job that has `dataset.label`; its images are labelled if the job names a server.

    An attempt names none, since SAM3 is unloaded: it finds what the preparation has made.

    Raises:
        ConfigInvalidError: there is neither a server nor a data set.
        DatasetInvalidError: as `label`.
        TrainerError: as `label`.

    """
    folder = job.output.path / FOLDER
    if job.label_server is not None:
        log.info("Labelled: %s", label(checked_request(_request(job, folder), "dataset.label")))
    elif not (folder / DESCRIPTION).is_file():
        raise ConfigInvalidError(
            "the images have no labels, and labelServer is missing: with dataset.label, prepare the job first, or name "
            "a SAM3 server"
        )
    return folder


def _request(job: Job, folder: Path) -> dict[str, Any]:
    assert job.dataset.label is not None, "only such a job is labelled"
    return {
        **job.dataset.label.model_dump(by_alias=True),
        "images": job.dataset.path,
        "output": folder,
        "server": job.label_server,
        "task": job.task,
        "seed": job.training.seed,
        "copyImages": False,
    }
