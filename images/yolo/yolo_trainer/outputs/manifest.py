# SPDX-License-Identifier: AGPL-3.0-only
"""The manifest of a finished run, and the termination message that follows from it."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from yolo_trainer.errors import Reason
from yolo_trainer.job.spec import Job
from yolo_trainer.storage import backends
from yolo_trainer.termination import TerminationMessage
from yolo_trainer.training.metrics import sentence
from yolo_trainer.training.stop_conditions import Ending

BEST_WEIGHTS = "weights/best.pt"
VERSIONS = ("torch", "torchvision", "ultralytics-opencv-headless", "numpy")
"""Packages whose versions the manifest names."""


class PublishedFile(BaseModel):
    """One file of a run."""

    bytes: int
    sha256: str


class Validation(BaseModel):
    """Metrics of the weights on a further split, or of a job in mode Validate."""

    split: str
    metrics: dict[str, float]


class Manifest(BaseModel):
    """What a run is, and its files; fields that only readers need pass through (docs/contracts.md)."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True, extra="allow")

    job: dict[str, str]
    model: str = ""
    task: str = ""
    files: dict[str, PublishedFile] = {}
    metrics: dict[str, float] = {}
    epochs: int = 0
    batch: int = 0
    ended: Ending | None = Ending.EPOCHS
    peak_memory_mib: int = Field(default=0, alias="peakMemoryMiB")
    exports: dict[str, str] = {}
    export_differences: dict[str, float | None] = {}
    export_errors: dict[str, str] = {}
    exports_pending: list[str] = []
    checkpoint_kept: bool = False
    validation: Validation | None = None


@dataclass(frozen=True)
class Run:
    """The figures of a run. Memory in MiB. `epochs` are those that were trained; without training, `ending` is None."""

    metrics: Mapping[str, float]
    epochs: int
    ending: Ending | None
    batch: int
    peak_memory_mib: int


def describe(job: Job, images: Mapping[str, int], run: Run, tracking: Mapping[str, str]) -> Manifest:
    """Describe a run; its files are added when they are published, its exports when they are made.

    `tracking` is where the run is recorded, by service.
    """
    return Manifest(
        job={"namespace": job.job.namespace, "name": job.job.name, "uid": job.job.uid},
        mode=job.mode,
        attempt=job.attempt,
        task=job.task,
        model=backends.redacted(job.model) if backends.is_uri(job.model) else job.model,
        epochs=run.epochs,
        ended=run.ending,
        batch=run.batch,
        metrics=_finite(run.metrics),
        peak_memory_mib=run.peak_memory_mib,
        dataset={
            "path": None if job.dataset.path is None else str(job.dataset.path),
            "uri": None if job.dataset.uri is None else backends.redacted(job.dataset.uri),
            "sha256": job.dataset.sha256,
            "images": dict(images),
        },
        exports_pending=list(dict.fromkeys(job.output.export)),
        checkpoint_kept=job.output.keep_checkpoint,
        **({} if job.resume_from is None else {"resumedFrom": backends.redacted(job.resume_from)}),
        **({"tracking": dict(tracking)} if tracking else {}),
        versions={"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        completed=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def pending_validation(job: Job, manifest: Manifest) -> str | None:
    """Return the split that the published best weights are still to be validated on; None where there is none."""
    split = job.validation.split if job.validation is not None else None
    return None if split == job.split or manifest.validation is not None else split


def with_validation(manifest: Manifest, split: str, metrics: Mapping[str, float]) -> Manifest:
    """Return a manifest with the figures of a further split."""
    return manifest.model_copy(update={"validation": Validation(split=split, metrics=_finite(metrics))})


def pending_exports(job: Job, manifest: Manifest) -> list[str]:
    """Return the formats that the job asks for, and that were neither made nor failed."""
    return [
        name
        for name in dict.fromkeys(job.output.export)
        if name not in manifest.exports and name not in manifest.export_errors
    ]


def with_export(job: Job, manifest: Manifest, name: str, made: tuple[str, float | None] | str) -> Manifest:
    """Return a manifest with one more export: its file's name and difference from the weights, or why it failed."""
    update: dict[str, Any] = (
        {"export_errors": {**manifest.export_errors, name: made}}
        if isinstance(made, str)
        else {
            "exports": {**manifest.exports, name: made[0]},
            "export_differences": {**manifest.export_differences, name: made[1]},
        }
    )
    new = manifest.model_copy(update=update)
    return new.model_copy(update={"exports_pending": pending_exports(job, new)})


def completion_message(job: Job, manifest: Manifest, place: Callable[[str], str]) -> TerminationMessage:
    """Return the termination message of a published job; `place` returns where a file of the manifest is."""
    message = _done(job, manifest)
    failed = [f"; the export to {name} failed: {error}" for name, error in manifest.export_errors.items()]
    termination = TerminationMessage(
        Reason.COMPLETED, "".join([message, *failed]), epoch=manifest.epochs, epochs=job.epochs
    )
    return with_results(termination, manifest, place)


def with_results(
    termination: TerminationMessage, manifest: Manifest, place: Callable[[str], str]
) -> TerminationMessage:
    """Return a termination message with the published results."""
    weights = {name: f"weights/{name}.pt" for name in ("best", "last")}
    return replace(
        termination,
        metrics=manifest.metrics,
        weights={name: place(file) for name, file in weights.items() if file in manifest.files},
        exports={name: place(file) for name, file in manifest.exports.items()},
        export_errors=manifest.export_errors,
        peak_memory_mib=max(termination.peak_memory_mib, manifest.peak_memory_mib),
        batch=manifest.batch,
        validation=None if manifest.validation is None else manifest.validation.model_dump(),
    )


def _done(job: Job, manifest: Manifest) -> str:
    """Return a sentence on what was done."""
    further = manifest.validation
    if job.mode == "Export":
        return f"exported to {', '.join(manifest.exports) or 'no format'}"
    if job.mode == "Validate":
        return f"validated on {further.split if further else job.split}: {sentence(manifest.metrics)}"
    message = f"{manifest.epochs} of {job.epochs} epochs, {sentence(manifest.metrics)}{_why(job, manifest)}"
    return message if further is None else f"{message}; on {further.split}: {sentence(further.metrics)}"


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _why(job: Job, manifest: Manifest) -> str:
    """Return why a training run ended before its last epoch, as the end of a sentence."""
    if manifest.ended == Ending.PATIENCE:
        return f"; stopped early: no improvement in {job.training.patience} epochs"
    if manifest.ended == Ending.TIME_LIMIT:
        return f"; the time limit of {job.training.time_limit} s ended it there"
    return ""
