# SPDX-License-Identifier: AGPL-3.0-only
"""Record a training job, with all its attempts, as one run of Weights & Biases.

Imported by recorders only. Offline, the library keeps what it is given in memory for a while, and a kill loses it. So
an offline run is written at the end of an attempt, from results.csv, and a file beside it says which epochs it has.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import wandb
import yaml

from yolo_trainer.job.tracking import Wandb
from yolo_trainer.storage.atomic_file import write_atomically
from yolo_trainer.tracking.protocol import Answer, RunProgress, RunStatus, TrackedJob
from yolo_trainer.tracking.results_csv import read_figures

log = logging.getLogger(__name__)

_INIT_SECONDS = 20.0
_LONGEST_ID = 128


class WandbRecorder:
    """One run, found again by its id, which follows from the job's UID."""

    name = "Weights & Biases"

    def __init__(self, subject: TrackedJob, settings: Wandb) -> None:
        self._subject = subject
        self._settings = settings
        self._id = re.sub(r"[^A-Za-z0-9_-]", "-", subject.uid)[:_LONGEST_ID]
        self._record_file = subject.output / "wandb" / f"{self._id}.recorded.json"
        self._recorded = self._known() if settings.offline else 0
        self._run: Any = None

    @property
    def place(self) -> str | None:
        """Where users find the run: its page, or offline the folder that `wandb sync` takes."""
        if self._settings.offline:
            return str(self._subject.output / "wandb")
        return None if self._run is None else self._run.url

    def record(self, progress: RunProgress) -> None:
        """Send the figures that the run lacks; offline, once the attempt has ended."""
        if self._settings.offline and progress.ended is None:
            return
        rows = [row for row in read_figures(progress.folder, progress.epochs) if row.epoch > self._recorded]
        if self._run is None and (rows or not self._settings.offline):
            self._run = self._open(progress.folder)
            if not self._settings.offline:
                self._recorded = max(0, self._run.step - 1)
        for row in rows:
            if row.epoch > self._recorded:
                self._run.log({**row.values, "epoch": row.epoch}, step=row.epoch)
                self._recorded = row.epoch
        if progress.best and self._run is not None:
            self._run.summary.update({f"best/{name}": value for name, value in progress.best.items()})

    def upload(self, progress: RunProgress, name: str) -> None:
        """Upload nothing: weights and plots stay with the results."""

    def end(self, status: RunStatus) -> None:
        """Finish the run, so that everything is sent, or offline on the disk."""
        if self._run is None:
            return
        self._run.finish(exit_code=0 if status == RunStatus.FINISHED else 1)
        wandb.teardown()  # ends the service process of the library
        if self._settings.offline:
            write_atomically(self._record_file, json.dumps({"epochs": self._recorded}).encode())

    def check(self) -> Answer:
        """Report no problem: only the service itself can check a key."""
        return Answer()

    def explain(self, error: Exception) -> str:
        """Return a sentence on what is wrong."""
        return f"tracking.wandb: {' '.join(str(error).split())[:300] or type(error).__name__}"

    def _open(self, folder: Path) -> Any:
        self._subject.output.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._subject.name,
            id=self._id,
            resume="allow",
            mode="offline" if self._settings.offline else "online",
            dir=str(self._subject.output),
            config=self._arguments(folder),
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                init_timeout=_INIT_SECONDS,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def _arguments(self, folder: Path) -> dict[str, Any]:
        try:
            content = yaml.safe_load((folder / "args.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {**content, "model": self._subject.model} if isinstance(content, dict) else {}

    def _known(self) -> int:
        """Return the number of epochs that earlier attempts have written."""
        try:
            return int(json.loads(self._record_file.read_bytes())["epochs"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
