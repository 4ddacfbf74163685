# SPDX-License-Identifier: AGPL-3.0-only
"""A copy of the checkpoint behind `output.uri`, for pods that lose their output folder."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from yolo_trainer.inputs.batch_size import RECORD
from yolo_trainer.job.spec import Job
from yolo_trainer.storage.backends import StorageError
from yolo_trainer.storage.transfer import RemoteFolder
from yolo_trainer.training.checkpoint_store import BEST, OWNER, RESUME, CheckpointStore, owner_of

log = logging.getLogger(__name__)

FILES = (RECORD, BEST, RESUME, OWNER)
"""In the order in which they are written; the last one names the job that owns the others."""
LAST_COPY_SECONDS = 40.0
"""How long an interrupted run waits for its newest checkpoint to be copied: less than a pod's grace period."""


class CheckpointMirror:
    """Copies each new checkpoint to a URI, from a thread of its own, so that training never waits for it.

    While one copy is under way newer checkpoints may come; only the newest is copied next.
    """

    def __init__(self, remote: RemoteFolder, folder: Path) -> None:
        self._remote = remote
        self._folder = folder
        self._changed = threading.Condition()
        self._wanted = self._copied = 0
        self._current = False
        """Whether the copy is that of the newest checkpoint."""
        self._thread = threading.Thread(target=self._run, name="checkpoint-mirror", daemon=True)

    def start(self) -> None:
        """Begin to copy; a failed copy is logged, and the next one replaces it."""
        self._thread.start()

    def notify(self) -> None:
        """Report a new checkpoint."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()

    def wait(self, seconds: float = LAST_COPY_SECONDS) -> bool:
        """Wait until the newest checkpoint has been copied, or its copy has failed; return False after too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._copied == self._wanted, seconds)

    def restore(self, job_uid: str, store: CheckpointStore) -> None:
        """Fetch this job's checkpoint if the output folder has none.

        Raises:
            StorageError: it is unknown whether there is one; a new training run would discard it.

        """
        if store.find() is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        copy = self._folder / f".{OWNER}.remote"
        try:
            if not self._remote.get(f"checkpoint/{OWNER}", copy) or owner_of(copy) != job_uid:
                return
            store.discard()
            for name in FILES[:-1]:
                self._remote.get(f"checkpoint/{name}", self._folder / name)
            store.own()
            log.info("The checkpoint was restored from %s", self._remote.shown)
        finally:
            copy.unlink(missing_ok=True)

    def complete(self) -> None:
        """Copy the newest checkpoint, unless it has been copied: the job keeps it.

        Raises:
            StorageError: it could not be copied.

        """
        self.wait(threading.TIMEOUT_MAX)
        if not self._current:
            self._copy()

    def remove_out_of_memory_record(self) -> None:
        """Remove the record of OOM errors from the copy: only an unfinished job needs it."""
        self._remote.remove(f"checkpoint/{RECORD}")

    def remove(self) -> None:
        """Remove the copy: the job has completed."""
        self.wait()
        for name in reversed(FILES):
            self._remote.remove(f"checkpoint/{name}")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._copied != self._wanted)
                wanted = self._wanted
            try:
                self._copy()
            except (StorageError, OSError) as error:
                self._current = False
                log.warning("The checkpoint could not be copied: %s", error)
            else:
                self._current = True
            with self._changed:
                self._copied = wanted
                self._changed.notify_all()

    def _copy(self) -> None:
        for name in FILES:
            if (self._folder / name).is_file():
                self._remote.put(self._folder / name, f"checkpoint/{name}")


def remote_of(job: Job) -> RemoteFolder | None:
    """Return where a job publishes to besides its output folder."""
    return RemoteFolder(job.output.uri) if job.output.uri else None


def mirror_of(job: Job) -> CheckpointMirror | None:
    """Return the mirror of a job's checkpoint; None for a job without `output.uri`."""
    remote = remote_of(job)
    return None if remote is None else CheckpointMirror(remote, job.output.checkpoint_folder)
