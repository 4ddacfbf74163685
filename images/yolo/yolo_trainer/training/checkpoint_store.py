# SPDX-License-Identifier: AGPL-3.0-only
"""The checkpoint that a later attempt resumes from: it stays intact whenever the process is killed.

Ultralytics writes `weights/last.pt` in place, so a kill can leave half a file there. After each epoch a copy, with what
Ultralytics leaves out of it, goes to a temporary file, to the disk, and then to its place in a single rename:

    <output>/checkpoint/job.json       which job the checkpoint belongs to
    <output>/checkpoint/best.pt        the best weights so far
    <output>/checkpoint/resume.pt      the snapshot that is resumed
    <output>/checkpoint/previous.pt    the snapshot before it

The weights and the snapshots end in a checksum (`sealed_file`). A snapshot that differs from it, because the disk or a
person has changed it, is removed, and the one before is resumed.

`job.json` is written after the first `resume.pt`, and removed before another job's first checkpoint is written, so
these files never belong to different jobs.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from yolo_trainer.storage.atomic_file import fsync, replace_atomically, write_atomically
from yolo_trainer.storage.sealed_file import copy_content, is_intact, seal

log = logging.getLogger(__name__)

RESULTS = "results.csv"

OWNER = "job.json"

RESUME = "resume.pt"

BEST = "best.pt"


class CheckpointStore:
    """The checkpoint of one job on the volume."""

    def __init__(self, folder: Path, work: Path, job_uid: str) -> None:
        """Open the checkpoint in `folder` of a run whose files are in `work`."""
        self.folder = folder
        self._work = work
        self._uid = job_uid
        self._owner = self.folder / OWNER
        self._resume = self.folder / RESUME
        self._previous = self.folder / "previous.pt"
        self._whole: Path | None = None
        """The newest snapshot that was found whole."""
        self._best = self.folder / BEST
        self._owned = owner_of(self._owner) == job_uid
        self.on_save: Callable[[], None] = lambda: None
        """Called after each new checkpoint."""

    @property
    def owned(self) -> bool:
        """Whether the folder has this job's checkpoint, damaged or not."""
        return self._owned

    def find(self) -> Path | None:
        """Return this job's newest whole snapshot, or None; damaged ones are removed. Another job's stays.

        Raises:
            OSError: a snapshot is there and cannot be read.

        """
        if not self._owned:
            return None
        if self._whole is None:
            for file in (self._resume, self._previous):
                if is_intact(file):
                    self._whole = file
                    break
                self.drop(file)
        return self._whole

    def drop(self, snapshot: Path) -> None:
        """Remove a snapshot that is damaged; the next `find` returns the one before."""
        if snapshot.exists():
            log.warning("The checkpoint %s is damaged and not resumed", snapshot)
            snapshot.unlink()
        self._whole = None

    def save(self, write: Callable[[Path], object], best: Path | None) -> None:
        """Keep the checkpoint of a finished epoch, which `write` writes to a file, and the one before.

        `best` are weights to be copied, given when this epoch is the best so far.

        Raises:
            OSError: the disk is full or the folder cannot be written; the previous checkpoint is still whole.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._owned:
            self.discard()
        if best is not None:
            _written(self._best, lambda temporary: shutil.copyfile(best, temporary)).replace(self._best)
        temporary = _written(self._resume, write)
        if self.find() == self._resume:
            self._resume.replace(self._previous)
        temporary.replace(self._resume)
        fsync(self.folder)
        self._whole = self._resume
        if not self._owned:
            self.own()
        self.on_save()

    def own(self) -> None:
        """Record that the checkpoint is this job's."""
        write_atomically(self._owner, json.dumps({"uid": self._uid}).encode())
        self._owned = True

    def restore(self, epochs: int, last: bytes) -> bool:
        """Bring weights and lines of results back to the checkpoint's moment, `epochs` epochs in.

        `last` is what Ultralytics' own `last.pt` was then. Return False where the best weights so far are lost.
        """
        weights = self._work / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        write_atomically(weights / "last.pt", last)
        results = self._work / RESULTS
        if results.is_file():
            write_atomically(results, _first_epochs(results.read_text(encoding="utf-8"), epochs).encode())
        best = weights / "best.pt"
        if is_intact(self._best):
            replace_atomically(best, lambda temporary: copy_content(self._best, temporary))
            return True
        for file in (best, self._best):
            file.unlink(missing_ok=True)
        return False

    def keep_last(self) -> None:
        """Remove what only an unfinished job needs: the newest snapshot and the best weights stay."""
        for file in self.folder.iterdir() if self.folder.is_dir() else ():
            if file.name not in {OWNER, RESUME, BEST}:
                file.unlink()

    def discard(self) -> None:
        """Remove the checkpoint. The owner's file is removed first: a checkpoint without it is never resumed."""
        for file in (self._owner, self._resume, self._previous, self._best):
            file.unlink(missing_ok=True)
        self._owned, self._whole = False, None


def owner_of(file: Path) -> str | None:
    """Return the UID of the job that owns the checkpoint beside this file; None if it is unknown."""
    try:
        owner = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return str(owner.get("uid")) if isinstance(owner, dict) else None


def _first_epochs(results: str, epochs: int) -> str:
    """Return header and lines of epochs 1 to `epochs`; a kill may have come between a line and its checkpoint."""
    header, *lines = results.splitlines(keepends=True) or [""]
    kept = [line for line in lines if (row := next(csv.reader([line]), [])) and _number(row[0]) <= epochs]
    return "".join([header, *kept])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("inf")


def _written(target: Path, write: Callable[[Path], object]) -> Path:
    """Write a temporary file, seal it and write it to the disk; return its path."""
    temporary = target.with_name(f".{target.name}.tmp")
    write(temporary)
    seal(temporary)
    fsync(temporary)
    return temporary
