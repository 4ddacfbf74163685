# SPDX-License-Identifier: AGPL-3.0-only
"""Label the images of a job, in its preparation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.description import DESCRIPTION
from yolo_trainer.job.spec import Job
from yolo_trainer.labelling import corrections, earlier
from yolo_trainer.labelling.label import label
from yolo_trainer.labelling.request import checked_request

log = logging.getLogger(__name__)

FOLDER = "labelled"
"""Where the data set is, in the job's output; it stays there."""


def labelled(job: Job, seal: Callable[[], None]) -> Path:
    """Return the data set of a job that has `dataset.label`; its images are labelled if the job names a server.

    Labels that are there already, of this job or for the same request, are kept, with what people corrected. An attempt
    names no server, since SAM3 is unloaded: it finds what the preparation has made.

    Args:
        job: the job.
        seal: imports Ultralytics, which reads corrections.

    Raises:
        ConfigInvalidError: there is neither a server nor a data set.
        DatasetInvalidError: as `label`, or corrected labels are invalid.
        TrainerError: as `label`.

    """
    folder, section = job.output.path / FOLDER, job.dataset.label
    assert section is not None, "only such a job is labelled"
    if job.label_server is not None:
        request = checked_request(_request(job, folder), "dataset.label")
        if not earlier.adopt(request, job.job.uid):
            log.info("Labelled: %s", label(request, job.job.uid))
        if not section.awaits_approval:
            log.info("Corrected: %s", corrections.take(request, seal))
    elif not (folder / DESCRIPTION).is_file():
        raise ConfigInvalidError(
            "the images have no labels, and labelServer is missing: with dataset.label, prepare the job first, or name "
            "a SAM3 server"
        )
    return folder


def to_review(job: Job) -> dict[str, int] | None:
    """Return how many labels a person has to approve, and how many of them are doubtful; None if the job does not wait.

    Raises:
        OSError: the labels are not there.

    """
    if job.dataset.label is None or job.label_server is None or not job.dataset.label.awaits_approval:
        return None
    report = earlier.read_report(job.output.path / FOLDER)
    return {"labels": sum(report["objects"].values()), "doubtful": report["doubtful"]}


def _request(job: Job, folder: Path) -> dict[str, Any]:
    assert job.dataset.label is not None, "only such a job is labelled"
    return {
        **job.dataset.label.model_dump(by_alias=True, exclude={"review", "approved"}),
        "images": job.dataset.path,
        "output": folder,
        "server": job.label_server,
        "task": job.task,
        "seed": job.training.seed,
        "copyImages": False,
    }
