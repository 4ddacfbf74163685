# SPDX-License-Identifier: AGPL-3.0-only
"""Record one attempt at a job with the services in its `tracking` section.

What is recorded is read from results.csv, and only epochs that will not be trained again: those in a checkpoint. So a
service that was down gets later what it lacks, and no epoch is recorded twice. A service that is down, is slow or
refuses requests never fails, stops or slows a run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath

from yolo_trainer.errors import ConfigInvalidError, Reason
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import Manifest
from yolo_trainer.termination import TerminationMessage
from yolo_trainer.tracking.protocol import RunProgress, RunStatus, TrackedJob
from yolo_trainer.tracking.recorder_process import RecorderProcess, service_variables
from yolo_trainer.tracking.tensorboard import EventFiles

log = logging.getLogger(__name__)

LAST_FIGURES_SECONDS = 30.0
LAST_FILES_SECONDS = 60.0
"""How long a completed job, which still has the GPU, waits at most for its figures and then for its files to arrive."""
OTHERWISE_SECONDS = 5.0
"""How long any other end waits for figures: grace periods are short, and the next attempt sends what is missing."""
_UPLOADED = {".png", ".jpg", ".csv", ".yaml"}
"""Files that are uploaded beside the weights, as Ultralytics' own callback does."""
_WANDB_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


class TrackingSession:
    """The recorders of one attempt; none without a `tracking` section."""

    def __init__(self, job: Job | None = None) -> None:
        self._output = job.output.path if job else Path()
        self._work = job.output.work_folder if job else Path()
        self._recorders = _recorders(job) if job else []
        wanted = job is not None and job.tracking is not None and job.tracking.tensor_board
        self._events = EventFiles(self._work) if wanted else None
        self._progress: RunProgress | None = None

    def saved(self, epochs: int) -> None:
        """Record the epochs that are in a checkpoint; the first call makes the runs, or continues them."""
        self._report(RunProgress(folder=self._work, epochs=epochs))
        if self._events is not None:
            self._events.record(epochs)

    def published(self, manifest: Manifest) -> None:
        """Record a finished training from its published results; uploads begin."""
        files = tuple(name for name in sorted(manifest.files) if _is_uploaded(name) and (self._output / name).is_file())
        self._report(RunProgress(folder=self._output, epochs=manifest.epochs, best=manifest.metrics, files=files))

    @property
    def runs(self) -> Mapping[str, str]:
        """Where users find the runs, as far as it is known, by service."""
        return {recorder.name: recorder.run for recorder in self._recorders if recorder.run is not None}

    def end(self, termination: TerminationMessage) -> TerminationMessage:
        """End the runs, and add to the attempt's termination message where they are, and what is not recorded."""
        if self._progress is None:
            return termination
        completed = termination.reason == Reason.COMPLETED
        progress = self._progress.model_copy(
            update={
                "ended": _status(termination.reason),
                "figures_seconds": LAST_FIGURES_SECONDS if completed else OTHERWISE_SECONDS,
                "files_seconds": LAST_FILES_SECONDS if completed else 0.0,
            }
        )
        problems = [self._events.problem] if self._events is not None and self._events.problem else []
        with ThreadPoolExecutor(max_workers=max(1, len(self._recorders))) as threads:
            answers = list(threads.map(lambda recorder: recorder.end(progress), self._recorders))
        problems += [
            f"{recorder.name} has not recorded everything: {problem}"
            for recorder, problem in zip(self._recorders, answers, strict=True)
            if problem is not None
        ]
        for problem in problems:
            log.warning("%s", problem)
        shown = problems if completed else []  # a later attempt sends the rest
        return replace(termination, message="; ".join([termination.message, *shown]), tracking=self.runs)

    def _report(self, progress: RunProgress) -> None:
        self._progress = progress
        for recorder in self._recorders:
            recorder.report(progress)


def check_tracking(job: Job) -> None:
    """Check that the tracking settings can be used. A server that cannot be reached is a warning.

    Raises:
        ConfigInvalidError: the server refuses the credentials or the experiment, or credentials are missing.

    """
    wanted = job.tracking.wandb if job.tracking else None
    given = service_variables()
    if wanted is not None and not wanted.offline and not any(given.get(name) for name in _WANDB_KEYS):
        raise ConfigInvalidError(
            "tracking.wandb needs WANDB_API_KEY in the environment: put it into the Secret of tracking.secretName, or "
            "set tracking.wandb.offline: true"
        )
    for recorder in _recorders(job):
        answer = recorder.check()
        if answer.problem is not None and answer.wrong:
            raise ConfigInvalidError(answer.problem)
        if answer.problem is not None:
            log.warning("%s: %s. The training is recorded when the server can be used", recorder.name, answer.problem)


def _recorders(job: Job) -> list[RecorderProcess]:
    wanted = job.tracking
    if wanted is None:
        return []
    subject = TrackedJob(
        uid=job.job.uid, name=job.job.name, namespace=job.job.namespace, model=job.model, output=job.output.path
    )
    recorders = []
    if wanted.mlflow is not None:
        recorders.append(RecorderProcess("MLflow", subject.model_copy(update={"mlflow": wanted.mlflow})))
    if wanted.wandb is not None:
        recorders.append(RecorderProcess("Weights & Biases", subject.model_copy(update={"wandb": wanted.wandb})))
    return recorders


def _is_uploaded(name: str) -> bool:
    """True for the weights and for plots, results.csv and YAML files at the top of the results."""
    path = PurePath(name)
    return (path.parent == Path("weights") and path.suffix == ".pt") or (
        path.parent == Path() and path.suffix in _UPLOADED
    )


def _status(reason: Reason) -> RunStatus:
    return {Reason.COMPLETED: RunStatus.FINISHED, Reason.INTERRUPTED: RunStatus.KILLED}.get(reason, RunStatus.FAILED)
