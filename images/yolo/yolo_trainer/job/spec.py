# SPDX-License-Identifier: AGPL-3.0-only
"""The job file: what to train, on what, and with how much of which GPU (docs/contracts.md).

By hand, only the model, the data set and the output are required.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator
from pydantic.alias_generators import to_camel

from yolo_trainer.job.labelling import JobLabelling
from yolo_trainer.job.tracking import Tracking
from yolo_trainer.storage import backends
from yolo_trainer.storage.archive import SUFFIXES, is_archive
from yolo_trainer.suggestions import suggestion

NDJSON = ".ndjson"
"""Ultralytics' list of images and labels, by URL."""

Task = Literal["detect", "segment", "classify", "pose", "obb"]

Mode = Literal["Train", "Validate", "Export"]

Split = Literal["train", "val", "test"]


class _Section(BaseModel):
    """camelCase in the file, snake_case here; unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class JobReference(_Section):
    """Which YoloTrainingJob this is."""

    namespace: str = Field(min_length=1)
    name: str = Field(min_length=1)
    uid: str


class DatasetReference(_Section):
    """Where the data set is: on a volume (`path`), or behind a URI, with `path` relative to what is fetched."""

    path: Path | None = None
    uri: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    label: JobLabelling | None = None
    """How the images at `path` get labels; None for a data set that has them."""

    @field_validator("uri")
    @classmethod
    def _readable(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        _check_scheme(uri, backends.READABLE)
        name = backends.name_of(uri)
        if not uri.endswith("/") and not is_archive(name) and not name.lower().endswith(NDJSON):
            raise ValueError(
                f"{backends.redacted(uri)} must be an archive ({', '.join(SUFFIXES)}) or an {NDJSON} file, or end in "
                "'/' to name a folder"
            )
        return uri

    @model_validator(mode="after")
    def _one_place(self) -> DatasetReference:
        if self.uri is None and self.path is None:
            raise ValueError("give path (a folder with data.yaml) or uri (an archive or a folder)")
        if self.uri is not None and self.label is not None:
            raise ValueError("label needs images at a path: leave uri out")
        if self.uri is None and self.sha256 is not None:
            raise ValueError("sha256 belongs to a uri: leave it out")
        if self.uri is not None and self.uri.endswith("/") and self.sha256 is not None:
            raise ValueError("sha256 is that of one file, and uri names a folder: leave it out, or give an archive")
        if self.uri is not None and self.path is not None and (self.path.is_absolute() or ".." in self.path.parts):
            raise ValueError("beside a uri, path is inside of what is fetched: make it relative, without '..'")
        return self


class Training(_Section):
    """How to train; `args` are Ultralytics' own training arguments."""

    epochs: PositiveInt = 100
    image_size: int = Field(default=640, ge=32)
    batch: PositiveInt | Literal["auto"] = 16
    patience: int = Field(default=100, ge=0)
    seed: int = Field(default=0, ge=0)
    time_limit: PositiveInt | None = None
    """Seconds of training, in all attempts together, after which no further epoch begins."""
    checkpoint_interval: PositiveInt = 1
    """Epochs from one checkpoint to the next."""
    args: dict[str, Any] = Field(default_factory=dict)


class Output(_Section):
    """Where results and checkpoints go, and what the best weights are exported to.

    `path` is a folder that can be written; `uri` is where results are published to besides. With `keep_checkpoint` the
    last checkpoint stays, so that another job can continue the training.
    """

    path: Path
    uri: str | None = None
    export: tuple[str, ...] = ()
    keep_checkpoint: bool = False

    @property
    def work_folder(self) -> Path:
        """Where a run's files are until the run is published."""
        return self.path / "work"

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoint of an unfinished run is, and that of a finished one with `keep_checkpoint`."""
        return self.path / "checkpoint"

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.absolute()

    @field_validator("uri")
    @classmethod
    def _writable(cls, uri: str | None) -> str | None:
        if uri is not None:
            _check_scheme(uri, backends.WRITABLE)
        return uri


class Validation(_Section):
    """On which split the weights are validated: at the end of a training besides `val`, or as all that a job does."""

    split: Split


class Gpu(_Section):
    """The GPU that the job was assigned: without `uuid` any GPU, without `memory_mib` all of its free memory."""

    uuid: str | None = None
    memory_mib: PositiveInt | None = Field(default=None, alias="memoryMiB")


class Hold(_Section):
    """The resident's promise to stay unloaded, which the trainer renews while it lives."""

    url: str = Field(pattern=r"^https?://")
    fence: int = Field(ge=0)
    renew_key: str = Field(min_length=1, repr=False)
    ttl_seconds: float = Field(gt=0)


class Job(_Section):
    """The whole job file."""

    job: JobReference = JobReference(namespace="local", name="local", uid="")
    attempt: PositiveInt = 1
    mode: Mode = "Train"
    model: str = Field(min_length=1)
    task: Task = "detect"
    dataset: DatasetReference
    training: Training = Training()
    validation: Validation | None = None
    output: Output
    resume_from: str | None = None
    """The output of a finished job, which is trained for more epochs: a folder, or a URI."""
    cache: Path | None = None
    gpu: Gpu = Gpu()
    hold: Hold | None = None
    tracking: Tracking | None = None
    label_server: str | None = Field(default=None, pattern=r"^https?://")
    """URL of the SAM3 server that labels the images; with `dataset.label`, a preparation has one."""

    @field_validator("resume_from")
    @classmethod
    def _source(cls, source: str | None) -> str | None:
        if source is None:
            return None
        if backends.is_uri(source):
            _check_scheme(source, backends.WRITABLE)
        elif not Path(source).is_absolute():
            raise ValueError(f"'{source}' must be an absolute path, or a URI: the output of a finished job")
        return source

    @model_validator(mode="after")
    def _of_one_mode(self) -> Job:
        """Refuse fields that mean nothing in the job's mode."""
        if self.mode == "Export" and not self.output.export:
            raise ValueError("mode Export needs output.export: name a format, such as onnx")
        if self.mode == "Export" and self.validation is not None:
            raise ValueError("mode Export validates nothing: leave validation out, or use mode Validate")
        if self.mode == "Validate" and self.output.export:
            raise ValueError("mode Validate makes no exports: leave output.export out, or use mode Export")
        if self.mode != "Train" and (self.resume_from is not None or self.output.keep_checkpoint):
            raise ValueError(f"mode {self.mode} trains nothing: leave resumeFrom and output.keepCheckpoint out")
        if self.dataset.label is not None and (self.mode != "Train" or self.task in ("classify", "pose")):
            raise ValueError("dataset.label is for mode Train and the tasks detect, segment and obb")
        return self

    @model_validator(mode="after")
    def _identify_local_job(self) -> Job:
        """Identify a job file without `job` by what it trains: run again it resumes, and changed it is another job."""
        if self.job.uid:
            return self
        parts = self.model_dump_json(
            include={"model": True, "task": True, "dataset": True, "training": True},
            exclude={"training": {"batch", "checkpoint_interval"}},
        ) + "".join(self._distinguishing_values())
        uid = f"local-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"
        reference = JobReference(namespace="local", name=self.output.path.name or "local", uid=uid)
        return self.model_copy(update={"job": reference})

    def _distinguishing_values(self) -> Iterator[str]:
        """Yield what distinguishes two jobs by hand besides what they train, if it is given."""
        if self.mode != "Train":
            yield self.mode
        if self.validation is not None:
            yield self.validation.split
        if self.resume_from is not None:
            yield self.resume_from

    @property
    def epochs(self) -> int:
        """Epochs that the job trains; 0 in the other modes."""
        return self.training.epochs if self.mode == "Train" else 0

    @property
    def split(self) -> str:
        """The split that each epoch is validated on."""
        return str(self.training.args.get("split", "val"))

    @property
    def cache_path(self) -> Path:
        """Where files behind URIs are kept."""
        return self.cache or self.output.path / "cache"


def _check_scheme(uri: str, known: tuple[str, ...]) -> None:
    if not backends.is_uri(uri):
        raise ValueError(f"'{uri}' is no URI: begin it with one of {', '.join(f'{name}://' for name in known)}")
    scheme = backends.scheme_of(uri)
    if scheme not in known:
        raise ValueError(f"{scheme}:// is not supported{suggestion(scheme, known)}: use {', '.join(known)}")
    if scheme != "file" and not uri.partition("://")[2].partition("/")[0]:
        raise ValueError(f"'{uri}' lacks its host or bucket")
