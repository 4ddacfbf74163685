# SPDX-License-Identifier: AGPL-3.0-only
"""A recorder's loop: follow the trainer, retry what failed, and end within the time that is left."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TextIO

from pydantic import ValidationError

from yolo_trainer.tracking.protocol import Answer, RunProgress, RunStatus

log = logging.getLogger(__name__)

RETRY_SECONDS = 15.0
_LAST_RETRIES_SECONDS = 1.0
"""Pause between tries once the attempt has ended."""


class Recorder(Protocol):
    """One run at one tracking service."""

    name: str

    @property
    def place(self) -> str | None:
        """Where users find the run; None until it is known."""

    def record(self, progress: RunProgress) -> None:
        """Bring parameters and figures up to date; raise where that fails, and continue when called again."""

    def upload(self, progress: RunProgress, name: str) -> None:
        """Upload one file of the results; raise where that fails. Called in a thread of its own."""

    def end(self, status: RunStatus) -> None:
        """Set the status of the run; raise where that fails."""

    def check(self) -> Answer:
        """Say what is wrong with the settings."""

    def explain(self, error: Exception) -> str:
        """Return a sentence on an error."""


class Inbox:
    """The trainer's lines, of which only the newest counts. The process ends with the trainer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._changed = threading.Condition()
        self._newest: RunProgress | None = None
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def wait(self, seconds: float | None) -> RunProgress | None:
        """Return the newest line when it comes, or None after so many seconds; None waits as long as it takes."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None, seconds)
            newest, self._newest = self._newest, None
            return newest

    def _read(self) -> None:
        for line in self._stream:
            try:
                progress = RunProgress.model_validate_json(line)
            except ValidationError:  # the trainer was killed while it wrote
                break
            with self._changed:
                self._newest = progress
                self._changed.notify_all()
        os._exit(1)


class Uploads:
    """Uploads files in a thread of its own, so that neither figures nor the end of the run wait for them."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._thread: threading.Thread | None = None
        self._pending: list[str] = []
        self._problem = ""

    def begin(self, progress: RunProgress) -> None:
        """Upload the published files; they are published once."""
        if self._thread is None and progress.files:
            self._pending = list(progress.files)
            self._thread = threading.Thread(target=self._run, args=[progress], name="uploads", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> str | None:
        """Wait for the uploads, and return what is missing then."""
        if self._thread is not None:
            self._thread.join(seconds)
        if not self._pending:
            return None
        return f"{len(self._pending)} files were not uploaded ({self._problem or f'not within {seconds:.0f} s'})"

    def _run(self, progress: RunProgress) -> None:
        while True:
            for name in list(self._pending):
                try:
                    self._recorder.upload(progress, name)
                    self._pending.remove(name)
                except Exception as error:
                    self._problem = self._recorder.explain(error)
            if not self._pending:
                return
            time.sleep(_LAST_RETRIES_SECONDS)


def follow(recorder: Recorder, inbox: Inbox, answer: Callable[[Answer], None]) -> None:
    """Record what the trainer reports until the attempt ends; answer where the run is, and what is missing."""
    uploads = Uploads(recorder)
    progress: RunProgress | None = None
    problem: str | None = None
    place: str | None = None
    while True:
        progress = inbox.wait(RETRY_SECONDS if problem else None) or progress
        if progress is None:
            continue
        problem = _tried(recorder, partial(recorder.record, progress), problem)
        if recorder.place != place:
            place = recorder.place
            answer(Answer(run=place))
        if problem is None:
            uploads.begin(progress)
        if progress.ended is not None:
            missing = _last(recorder, uploads, progress, progress.ended, problem)
            answer(Answer(run=recorder.place, problem=missing))
            return


def _last(
    recorder: Recorder, uploads: Uploads, progress: RunProgress, status: RunStatus, problem: str | None
) -> str | None:
    """Record what is missing in the time that is left, end the run, and return what could not be recorded."""
    give_up = time.monotonic() + progress.figures_seconds
    while problem is not None and time.monotonic() < give_up:
        time.sleep(_LAST_RETRIES_SECONDS)
        problem = _tried(recorder, partial(recorder.record, progress), problem)
    if problem is not None:
        return problem
    uploads.begin(progress)
    missing = uploads.wait(progress.files_seconds)
    return _tried(recorder, partial(recorder.end, status), None) or missing


def _tried(recorder: Recorder, work: Callable[[], None], before: str | None) -> str | None:
    """Do work, and return the sentence on what went wrong; it is logged where it is another one than before."""
    try:
        work()
    except Exception as error:
        problem = recorder.explain(error)
        if problem != before:
            log.warning("%s: not recorded, and tried again: %s", recorder.name, problem)
        return problem
    if before is not None:
        log.info("%s: recorded what was missing", recorder.name)
    return None
