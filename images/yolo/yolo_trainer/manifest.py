# SPDX-License-Identifier: AGPL-3.0-only
"""What a finished run is, written down: the manifest beside its files, and the last word that follows from it."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from pydantic import BaseModel

from yolo_trainer import stores
from yolo_trainer.ending import Ending
from yolo_trainer.exports import Export
from yolo_trainer.job import Job
from yolo_trainer.outcome import LastWord, Reason
from yolo_trainer.request import work_folder
from yolo_trainer.results import sentence

VERSIONS = ("torch", "torchvision", "ultralytics-opencv-headless", "numpy")
"""Packages whose versions the manifest names."""


class PublishedFile(BaseModel):
    """One file of a run."""

    bytes: int
    sha256: str


class Manifest(BaseModel, extra="allow"):
    """What a run is and which files it has left; fields that only readers need pass through (docs/contracts.md)."""

    job: dict[str, str]
    files: dict[str, PublishedFile] = {}
    metrics: dict[str, float] = {}
    epochs: int = 0
    batch: int = 0
    ended: Ending = Ending.EPOCHS
    peakMemoryMiB: int = 0  # noqa: N815 - its name in the file
    exports: dict[str, str] = {}


@dataclass(frozen=True)
class Run:
    """How a training went. Memory in MiB; `epochs` are those that were trained."""

    metrics: Mapping[str, float]
    epochs: int
    ending: Ending
    batch: int
    exports: Mapping[str, Export]
    peak_memory_mib: int


def describe(job: Job, images: Mapping[str, int], run: Run) -> Manifest:
    """Describe a run; its files are added when they are published."""
    work = work_folder(job.output.path)
    return Manifest(
        job={"namespace": job.job.namespace, "name": job.job.name, "uid": job.job.uid},
        attempt=job.attempt,
        task=job.task,
        model=stores.shown(job.model) if stores.is_uri(job.model) else job.model,
        epochs=run.epochs,
        ended=run.ending,
        batch=run.batch,
        metrics={name: value for name, value in run.metrics.items() if math.isfinite(value)},
        peakMemoryMiB=run.peak_memory_mib,
        dataset={
            "path": None if job.dataset.path is None else str(job.dataset.path),
            "uri": None if job.dataset.uri is None else stores.shown(job.dataset.uri),
            "sha256": job.dataset.sha256,
            "images": dict(images),
        },
        exports={name: str(export.file.relative_to(work)) for name, export in run.exports.items()},
        exportDifferences={name: export.difference for name, export in run.exports.items()},
        versions={"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        completed=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def completed(job: Job, manifest: Manifest, place: Callable[[str], str]) -> LastWord:
    """Return the last word of a job whose results are published; `place` says where a file of the manifest is."""
    epochs = job.training.epochs
    message = f"{manifest.epochs} of {epochs} epochs, {sentence(manifest.metrics)}{_why(job, manifest)}"
    weights = {name: f"weights/{name}.pt" for name in ("best", "last")}
    return LastWord(
        Reason.COMPLETED,
        message,
        epoch=manifest.epochs,
        epochs=epochs,
        metrics=manifest.metrics,
        weights={name: place(file) for name, file in weights.items() if file in manifest.files},
        exports={name: place(file) for name, file in manifest.exports.items()},
        peak_memory_mib=manifest.peakMemoryMiB,
        batch=manifest.batch,
    )


def _why(job: Job, manifest: Manifest) -> str:
    """Say what ended a training before its last epoch, as the end of a sentence."""
    if manifest.ended == Ending.PATIENCE:
        return f"; stopped early: no improvement in {job.training.patience} epochs"
    if manifest.ended == Ending.TIME_LIMIT:
        return f"; the time limit of {job.training.time_limit} s ended it there"
    return ""
