# SPDX-License-Identifier: AGPL-3.0-only
"""Record a training job, with all its attempts, as one MLflow run. Imported by recorders only.

Ultralytics' own callback gives a run up when the training resumes: it logs all arguments again, and MLflow refuses
those that have changed.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException

from yolo_trainer.job.tracking import Mlflow
from yolo_trainer.storage.atomic_file import write_atomically
from yolo_trainer.tracking.protocol import Answer, RunProgress, RunStatus, TrackedJob
from yolo_trainer.tracking.results_csv import EpochFigures, read_figures

log = logging.getLogger(__name__)

TAG_JOB_UID = "gpurelay.dev/job-uid"
_RUN_FILE = "mlflow.run"
_MOST_PARAMS = 100
_MOST_METRICS = 1000
"""How many of each MLflow takes in one request."""
_LONGEST_PARAM = 500
_OF_AN_ATTEMPT = {"resume", "save_dir", "project", "name", "exist_ok"}
"""Arguments that decide how an attempt runs, and not what is trained."""
_DENIED = {401: "does not accept the credentials", 403: "does not permit this"}
_CREDENTIALS = (
    "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the Secret of "
    "tracking.secretName"
)


class MlflowRecorder:
    """Keeps one run up to date: each step reads what the server has, and adds what it lacks."""

    name = "MLflow"

    def __init__(self, subject: TrackedJob, settings: Mlflow) -> None:
        self._subject = subject
        self._settings = settings
        self._client = MlflowClient(tracking_uri=settings.uri)
        self._file = subject.output / "checkpoint" / _RUN_FILE
        self._run: Run | None = None
        self._recorded: set[int] | None = None
        self._unsure = False
        """True after a request that failed: what the server has of it is unknown."""
        self._done = False
        """True once the run is FINISHED: an earlier attempt has recorded everything."""
        self._uploaded: set[str] = set()

    @property
    def place(self) -> str | None:
        """Where users find the run; None until it is known."""
        if self._run is None:
            return None
        info = self._run.info
        return f"{self._settings.uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}"

    def record(self, progress: RunProgress) -> None:
        """Bring parameters and figures up to date.

        Raises:
            Exception: the server cannot be reached or refuses; calling this again later continues.

        """
        if self._run is None:
            self._run = self._open()
        if self._done:
            return
        if self._unsure:
            self._run, self._recorded = self._client.get_run(self._run.info.run_id), None
        self._unsure = True
        self._record_params(self._run, progress.folder)
        self._record_figures(self._run, progress)
        self._unsure = False

    def upload(self, progress: RunProgress, name: str) -> None:
        """Upload one file of the results, unless this process or an earlier attempt did.

        Raises:
            Exception: the server cannot be reached or refuses.

        """
        assert self._run is not None, "figures come first"
        if self._done or name in self._uploaded:
            return
        folder = str(Path(name).parent)
        self._client.log_artifact(self._run.info.run_id, str(progress.folder / name), None if folder == "." else folder)
        self._uploaded.add(name)

    def end(self, status: RunStatus) -> None:
        """Set the status of the run.

        Raises:
            Exception: the server cannot be reached or refuses.

        """
        assert self._run is not None, "figures come first"
        if not self._done:
            self._client.set_terminated(self._run.info.run_id, status.value)
        if status == RunStatus.FINISHED:
            self._forget()

    def _forget(self) -> None:
        """Remove the note: the job has completed, and its checkpoint folder may be gone already."""
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.parent.rmdir()

    def check(self) -> Answer:
        """Find or make the experiment, and say what is wrong with the settings."""
        try:
            self._experiment()
        except MlflowException as error:
            status = _status(error)
            wrong = isinstance(error, _UnusableError) or status in _DENIED or status == 404
            return Answer(problem=self.explain(error), wrong=wrong)
        return Answer()

    def explain(self, error: Exception) -> str:
        """Return a sentence on what is wrong, and what to change."""
        text = " ".join(str(error).split())
        if isinstance(error, _UnusableError):
            return text
        status = _status(error)
        server = f"tracking.mlflow: the server {self._settings.uri}"
        if status in _DENIED:
            return f"{server} {_DENIED[status]} ({status}): {_CREDENTIALS}"
        if status == 404:
            return f"{server} has no MLflow API: correct tracking.mlflow.uri ({text[:200]})"
        return f"{server} could not be used: {text[:300]}"

    def _open(self) -> Run:
        """Return this job's run, made if there is none, in status RUNNING unless it is FINISHED."""
        experiment = self._experiment()
        run = self._stored() or self._tagged(experiment) or self._new(experiment)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, f"{self._subject.uid} {run.info.run_id}".encode())
        self._done = run.info.status == RunStatus.FINISHED
        if run.info.status not in ("RUNNING", RunStatus.FINISHED):
            self._client.update_run(run.info.run_id, status="RUNNING")
        return run

    def _experiment(self) -> str:
        name = self._settings.experiment or self._subject.namespace
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)  # another job was faster
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise _UnusableError(
                f"tracking.mlflow: experiment {name} was deleted on the server: restore it, or name another one in "
                "tracking.mlflow.experiment"
            )
        return str(found.experiment_id)

    def _stored(self) -> Run | None:
        """Return the run that an earlier attempt has recorded beside the checkpoint."""
        try:
            uid, run_id = self._file.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        if uid != self._subject.uid:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if _status(error) != 404:
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _tagged(self, experiment: str) -> Run | None:
        condition = f"tags.`{TAG_JOB_UID}` = '{self._subject.uid}'"
        found = self._client.search_runs([experiment], condition, ViewType.ACTIVE_ONLY, 1, ["attributes.start_time"])
        return found[0] if found else None

    def _new(self, experiment: str) -> Run:
        subject = self._subject
        tags = {TAG_JOB_UID: subject.uid, "gpurelay.dev/job": subject.name, "gpurelay.dev/namespace": subject.namespace}
        run = self._client.create_run(experiment, run_name=subject.name, tags=tags)
        log.info("MLflow: run %s in experiment %s", run.info.run_id, experiment)
        return run

    def _record_params(self, run: Run, folder: Path) -> None:
        """Send the training's arguments that the run lacks. Those that it has stay: MLflow refuses another value."""
        missing = {name: value for name, value in self._arguments(folder).items() if name not in run.data.params}
        names = sorted(missing)
        for start in range(0, len(names), _MOST_PARAMS):
            some = names[start : start + _MOST_PARAMS]
            self._client.log_batch(run.info.run_id, params=[Param(name, missing[name]) for name in some])
            run.data.params.update({name: missing[name] for name in some})

    def _arguments(self, folder: Path) -> dict[str, str]:
        try:
            content: Any = yaml.safe_load((folder / "args.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if not isinstance(content, dict):
            return {}
        content["model"] = self._subject.model  # that of an attempt which resumes is its checkpoint
        return {str(name): str(value)[:_LONGEST_PARAM] for name, value in content.items() if name not in _OF_AN_ATTEMPT}

    def _record_figures(self, run: Run, progress: RunProgress) -> None:
        rows = read_figures(progress.folder, progress.epochs)
        if rows and self._recorded is None:
            first = _name(next(iter(rows[0].values)))
            self._recorded = {metric.step for metric in self._client.get_metric_history(run.info.run_id, first)}
        missing = [row for row in rows if row.epoch not in (self._recorded or ())]
        for some in _in_requests(missing):
            now = int(time.time() * 1000)
            metrics = [Metric(_name(name), value, now, row.epoch) for row in some for name, value in row.values.items()]
            self._client.log_batch(run.info.run_id, metrics=metrics)
            self._recorded = (self._recorded or set()) | {row.epoch for row in some}
        if progress.best:
            self._record_best(run, progress)

    def _record_best(self, run: Run, progress: RunProgress) -> None:
        """Send the figures of the best weights, which are not those of the last epoch."""
        best = {f"best/{name}": value for name, value in progress.best.items()}
        if not best.keys() <= run.data.metrics.keys():
            now = int(time.time() * 1000)
            metrics = [Metric(name, value, now, progress.epochs) for name, value in best.items()]
            self._client.log_batch(run.info.run_id, metrics=metrics)
            run.data.metrics.update(best)


class _UnusableError(MlflowException):
    """The experiment exists and takes no runs; the message is a sentence for the job's owner."""


def _status(error: Exception) -> int:
    """Return the HTTP status that an error stands for; 0 for an error that is not MLflow's."""
    return int(error.get_http_status_code()) if isinstance(error, MlflowException) else 0  # type: ignore[no-untyped-call]  # MLflow


def _name(column: str) -> str:
    """Return a column's name as Ultralytics' callback sends it: MLflow takes no parentheses."""
    return column.replace("(", "").replace(")", "")


def _in_requests(rows: Sequence[EpochFigures]) -> list[Sequence[EpochFigures]]:
    """Split epochs into as many as one request takes, so that an epoch is recorded as a whole or not at all."""
    if not rows:
        return []
    each = max(1, _MOST_METRICS // max(len(row.values) for row in rows))
    return [rows[start : start + each] for start in range(0, len(rows), each)]
