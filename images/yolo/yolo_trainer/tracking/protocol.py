# SPDX-License-Identifier: AGPL-3.0-only
"""Messages between the trainer and a recorder: lines of JSON on the recorder's standard input and output.

A recorder is a process of its own. So what a tracking library does to random numbers, signals, threads and memory never
reaches the training, and a server that does not answer never holds it up: the process is ended when its time is up.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel

from yolo_trainer.job.tracking import Mlflow, Wandb


class RunStatus(StrEnum):
    """How a run or an attempt at it ended, by MLflow's names."""

    FINISHED = "FINISHED"
    KILLED = "KILLED"
    FAILED = "FAILED"


class TrackedJob(BaseModel, frozen=True):
    """The first line: the training job, and where it is recorded."""

    uid: str
    name: str
    namespace: str
    model: str
    output: Path
    mlflow: Mlflow | None = None
    wandb: Wandb | None = None


class RunProgress(BaseModel, frozen=True):
    """Each further line: how far the training is. A newer line replaces the older one."""

    folder: Path
    """Where results.csv and args.yaml are."""
    epochs: int = 0
    """Epochs that will not be trained again: they are in a checkpoint, or published."""
    best: dict[str, float] = {}
    """The figures of the best weights, once they are published."""
    files: tuple[str, ...] = ()
    """Files in `folder` to upload, once they are published."""
    ended: RunStatus | None = None
    """How the attempt ended; None while it continues."""
    figures_seconds: float = 0.0
    """Once it has ended: how long the recorder may still try to send figures."""
    files_seconds: float = 0.0
    """And how long, after that, to upload files."""


class Answer(BaseModel, frozen=True):
    """A line that a recorder writes."""

    run: str | None = None
    """Where users find the run."""
    problem: str | None = None
    """What could not be recorded, and why; None where everything is."""
    wrong: bool = False
    """In a check: the problem is a setting that its owner has to change."""
