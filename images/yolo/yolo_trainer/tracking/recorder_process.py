# SPDX-License-Identifier: AGPL-3.0-only
"""The trainer's side of a recorder: starts the process, reports to it, and ends it when its time is up."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from pydantic import ValidationError

from yolo_trainer.tracking.protocol import Answer, RunProgress, TrackedJob

log = logging.getLogger(__name__)

PREFIX = "GPU_RELAY_TRACKING_"
"""Of the variables that the operator makes of the Secret in `tracking.secretName`: only recorders see them without it.
"""
CHECK_SECONDS = 40.0
"""Time limit of the check in preparation: importing MLflow alone takes up to 10 s on a busy node."""
_SPARE_SECONDS = 6.0
"""Added to the time that a recorder has at the end: it may be inside a request."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
    "WANDB_ERROR_REPORTING": "false",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What the libraries read: no telemetry, and no retries of their own, since the recorder tries again."""
_FOLDERS = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "TMPDIR")
"""Variables that name folders to which the libraries write."""


class RecorderProcess:
    """One recorder, from its start to its end. Nothing in here raises: what is not recorded is a warning."""

    def __init__(self, name: str, subject: TrackedJob) -> None:
        """Prepare the recorder of the one service that the subject names."""
        self.name = name
        self._subject = subject
        self._process: subprocess.Popen[str] | None = None
        self._answers: threading.Thread | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._answer = Answer(problem="the recorder did not answer")
        self.run: str | None = None
        """Where users find the run; None until the recorder reports it."""

    def report(self, progress: RunProgress) -> None:
        """Report how far the training is; the first report starts the process."""
        if self._process is None:
            self._start("follow")
        self._send(progress.model_dump_json())

    def end(self, progress: RunProgress) -> str | None:
        """Report the end, wait as long as the progress grants, and return what could not be recorded."""
        self.report(progress)
        patience = progress.figures_seconds + progress.files_seconds + _SPARE_SECONDS
        return self._finished(patience).problem

    def check(self) -> Answer:
        """Let the recorder check the settings."""
        self._start("check")
        return self._finished(CHECK_SECONDS)

    def _start(self, command: str) -> None:
        try:
            self._scratch = tempfile.TemporaryDirectory(prefix="yolo-trainer-", ignore_cleanup_errors=True)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "yolo_trainer.tracking", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=_environment(Path(self._scratch.name)),
                start_new_session=True,  # a terminal's Ctrl-C is the trainer's
            )
        except OSError as error:
            self._answer = Answer(problem=f"the recorder could not be started: {error}")
            return
        self._answers = threading.Thread(target=self._read, args=[self._process], name=self.name, daemon=True)
        self._answers.start()
        self._send(self._subject.model_dump_json())

    def _send(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):  # a recorder that has died is noticed at the end
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            try:
                answer = Answer.model_validate_json(line)
            except ValidationError:
                continue
            self.run = answer.run or self.run
            self._answer = answer

    def _finished(self, patience: float) -> Answer:
        """Wait for the end of the process, at most so many seconds, and return its last answer."""
        if self._process is None or self._answers is None:
            return self._answer
        try:
            code = self._process.wait(patience)
            problem = f"the recorder ended with exit code {code}"
        except subprocess.TimeoutExpired:
            problem = f"not within {patience:.0f} s"
            os.killpg(self._process.pid, 9)
            code = self._process.wait()
        self._answers.join(_SPARE_SECONDS)
        if self._scratch is not None:
            self._scratch.cleanup()
        return self._answer if code == 0 else Answer(run=self.run, problem=problem)


def service_variables() -> dict[str, str]:
    """Return the environment of a recorder: the trainer's own, and what the Secret brings, without its prefix."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    given = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return {**own, **given}


def _environment(scratch: Path) -> dict[str, str]:
    folders = {name: str(scratch) for name in _FOLDERS}
    return {**service_variables(), **_ENVIRONMENT, **folders}
