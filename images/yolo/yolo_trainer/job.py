# SPDX-License-Identifier: AGPL-3.0-only
"""The job file: what to train, on what, and with how much of which GPU (docs/contracts.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from yolo_trainer.outcome import ConfigInvalidError

Task = Literal["detect", "segment", "classify", "pose", "obb"]


class _Part(BaseModel):
    """camelCase in the file, snake_case here; a field that nobody knows is a mistake."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class JobReference(_Part):
    """Which YoloTrainingJob this is."""

    namespace: str = Field(min_length=1)
    name: str = Field(min_length=1)
    uid: str = Field(min_length=1)


class DatasetReference(_Part):
    """Where the data set lies: a folder that holds `data.yaml`, or a YAML file."""

    path: Path


class Training(_Part):
    """How to train; `args` are Ultralytics' own training arguments."""

    epochs: PositiveInt
    image_size: int = Field(ge=32)
    batch: PositiveInt
    patience: int = Field(default=100, ge=0)
    seed: int = Field(default=0, ge=0)
    args: dict[str, Any] = Field(default_factory=dict)


class Output(_Part):
    """Where results and checkpoints go, and what the best weights are exported to."""

    path: Path
    export: tuple[str, ...] = ()

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path


class Gpu(_Part):
    """The GPU that the job was given; `uuid` is null where nobody shares GPUs out."""

    uuid: str | None = None
    memory_mib: PositiveInt = Field(alias="memoryMiB")


class Hold(_Part):
    """The resident's promise to stay unloaded, which the trainer renews while it lives."""

    url: str = Field(pattern=r"^https?://")
    fence: int = Field(ge=0)
    renew_key: str = Field(min_length=1, repr=False)
    ttl_seconds: float = Field(gt=0)


class Job(_Part):
    """The whole job file."""

    job: JobReference
    attempt: PositiveInt = 1
    model: str = Field(min_length=1)
    task: Task = "detect"
    dataset: DatasetReference
    training: Training
    output: Output
    gpu: Gpu
    hold: Hold | None = None


_PARTS: Mapping[str, type[BaseModel]] = {
    "job": JobReference,
    "dataset": DatasetReference,
    "training": Training,
    "output": Output,
    "gpu": Gpu,
    "hold": Hold,
}


def load_job(path: Path) -> Job:
    """Read and check the job file.

    Raises:
        ConfigInvalidError: the file cannot be read, is no JSON, or has fields that are missing, unknown or senseless;
            every problem is named.

    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigInvalidError(
            f"the job file {path} cannot be read ({error.strerror}); name another one on the command line or in "
            "GPU_RELAY_JOB_FILE"
        ) from error
    except ValueError as error:
        raise ConfigInvalidError(f"the job file {path} is not valid JSON: {error}") from error
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_sentence(details) for details in error.errors())
        raise ConfigInvalidError(f"the job file {path} is not valid: {problems}") from error


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for a word that resembles a known one, else nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def _sentence(details: ErrorDetails) -> str:
    where = ".".join(str(step) for step in details["loc"]) or "the file"
    if details["type"] == "extra_forbidden":
        *parents, name = (str(step) for step in details["loc"])
        return f"{where} is unknown{suggestion(name, _fields(parents))}"
    if details["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {details['msg']}"


def _fields(parents: list[str]) -> list[str]:
    """Return the field names of the part that `parents` lead to."""
    part = _PARTS[parents[0]] if parents else Job
    return [field.alias or name for name, field in part.model_fields.items()]
