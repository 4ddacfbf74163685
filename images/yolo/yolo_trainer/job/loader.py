# SPDX-License-Identifier: AGPL-3.0-only
"""Read the job file, and name every field in it that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job import arguments
from yolo_trainer.job.document import read_document
from yolo_trainer.job.labelling import JobLabelling, LabelPrompt, SplitShares
from yolo_trainer.job.spec import DatasetReference, Gpu, Hold, Job, JobReference, Output, Training, Validation
from yolo_trainer.job.tracking import Mlflow, Tracking, Wandb
from yolo_trainer.suggestions import suggestion

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "job": JobReference,
    "dataset": DatasetReference,
    "dataset.label": JobLabelling,
    "dataset.label.split": SplitShares,
    "dataset.label.prompts": LabelPrompt,
    "training": Training,
    "validation": Validation,
    "output": Output,
    "gpu": Gpu,
    "hold": Hold,
    "tracking": Tracking,
    "tracking.mlflow": Mlflow,
    "tracking.wandb": Wandb,
}


def load_job(path: Path) -> Job:
    """Read and check the job file.

    Raises:
        ConfigInvalidError: the file cannot be read, is no JSON, or has fields that are missing, unknown or invalid;
            every problem is named.

    """
    content = read_document(path, "the job file", "; name another one on the command line or in GPU_RELAY_JOB_FILE")
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_sentence(details) for details in error.errors())
        raise ConfigInvalidError(f"the job file {path} is not valid: {problems}") from error


def _sentence(details: ErrorDetails) -> str:
    where = ".".join(str(step) for step in details["loc"]) or "the file"
    if details["type"] == "extra_forbidden":
        *parents, name = (str(step) for step in details["loc"])
        elsewhere = arguments.place_of(name) if parents == ["training"] else None
        return f"{where} is unknown{f': {elsewhere}' if elsewhere else suggestion(name, _fields(parents))}"
    if details["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {details['msg'].removeprefix('Value error, ')}"


def _fields(parents: list[str]) -> list[str]:
    """Return the field names of the part that `parents` lead to."""
    part = _SECTIONS[".".join(step for step in parents if not step.isdigit())] if parents else Job
    return [field.alias or name for name, field in part.model_fields.items()]
