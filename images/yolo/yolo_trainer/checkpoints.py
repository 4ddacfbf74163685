# SPDX-License-Identifier: AGPL-3.0-only
"""The checkpoint that a later attempt resumes from: whole at every moment, whenever the process is killed.

Ultralytics writes `weights/last.pt` in place, so a kill can leave half a file there. After each epoch a copy, with what
Ultralytics leaves out of it, goes to a temporary file, to the disk, and then over the old one in a single rename:

    <output>/checkpoint/job.json     which job the checkpoint belongs to
    <output>/checkpoint/best.pt      the best weights so far
    <output>/checkpoint/resume.pt    the snapshot that is resumed

`job.json` is written after the first `resume.pt`, and removed before another job's first checkpoint is written, so the
three never belong to different jobs.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

RESULTS = "results.csv"
OWNER = "job.json"


class CheckpointStore:
    """The checkpoint of one job on the volume."""

    def __init__(self, folder: Path, work: Path, job_uid: str) -> None:
        """Open the checkpoint in `folder` of a training whose files lie in `work`."""
        self.folder = folder
        self._work = work
        self._uid = job_uid
        self._owner = self.folder / OWNER
        self._resume = self.folder / "resume.pt"
        self._best = self.folder / "best.pt"
        self._owned = self._read_owner() == job_uid
        self.on_save: Callable[[], None] = lambda: None
        """Called after each new checkpoint."""

    def find(self) -> Path | None:
        """Return this job's checkpoint, or None; another job's is left alone."""
        return self._resume if self._owned and self._resume.is_file() else None

    def save(self, write: Callable[[Path], object], best: Path | None) -> None:
        """Keep the checkpoint of a finished epoch, which `write` writes to a file.

        `best` are weights to be copied, given when this epoch is the best so far.

        Raises:
            OSError: the disk is full or the folder cannot be written; the previous checkpoint is still whole.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._owned:
            self.discard()
        if best is not None:
            _copy_whole(best, self._best)
        _made_whole(self._resume, write)
        if not self._owned:
            self.own()
        self.on_save()

    def own(self) -> None:
        """Say that the checkpoint is this job's."""
        write_whole(self._owner, json.dumps({"uid": self._uid}).encode())
        self._owned = True

    def restore(self, epochs: int, last: bytes) -> None:
        """Bring weights and lines of results back to the checkpoint's moment, `epochs` epochs in.

        `last` is what Ultralytics' own `last.pt` was then.
        """
        weights = self._work / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        write_whole(weights / "last.pt", last)
        if self._best.is_file():
            _copy_whole(self._best, weights / "best.pt")
        results = self._work / RESULTS
        if results.is_file():
            write_whole(results, _first_epochs(results.read_text(encoding="utf-8"), epochs).encode())

    def discard(self) -> None:
        """Forget the checkpoint. The owner goes first: what has no owner is never resumed."""
        for file in (self._owner, self._resume, self._best):
            file.unlink(missing_ok=True)
        self._owned = False

    def _read_owner(self) -> str | None:
        try:
            owner = json.loads(self._owner.read_bytes())
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


def _copy_whole(source: Path, target: Path) -> None:
    _made_whole(target, lambda temporary: shutil.copyfile(source, temporary))


def write_whole(target: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, and on the disk."""
    _made_whole(target, lambda temporary: temporary.write_bytes(content))


def _made_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let a file be written, then put it in its place, and both on the disk: a node may lose power too."""
    temporary = target.with_name(f".{target.name}.tmp")
    write(temporary)
    flush(temporary)
    temporary.replace(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
