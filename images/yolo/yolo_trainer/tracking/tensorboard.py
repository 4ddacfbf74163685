# SPDX-License-Identifier: AGPL-3.0-only
"""TensorBoard event files, written in the trainer's own process beside results.csv and published with it.

They need neither a server nor PyTorch's SummaryWriter, and draw no random numbers.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from yolo_trainer.tracking.results_csv import EpochFigures, read_figures

log = logging.getLogger(__name__)

FOLDER = "tensorboard"
"""Beside results.csv: the event files of all attempts."""


class EventFiles:
    """The event files of one run; each attempt adds a file."""

    def __init__(self, folder: Path) -> None:
        """Open the event files of the run whose results.csv is in `folder`."""
        self._folder = folder
        self._file = folder / FOLDER / f"events.out.tfevents.{time.time():.6f}.{os.uname().nodename}.{os.getpid()}"
        self._recorded: set[int] | None = None
        self.problem: str | None = None
        """Why something could not be written; None while everything is."""

    def record(self, epochs: int) -> None:
        """Write the first `epochs` epochs, except those that are in an event file already."""
        try:
            if self._recorded is None:
                self._recorded = recorded_epochs(self._file.parent)
            missing = [row for row in read_figures(self._folder, epochs) if row.epoch not in self._recorded]
            if missing:
                _append(self._file, missing)
                self._recorded |= {row.epoch for row in missing}
            self.problem = None
        except (OSError, ValueError) as error:
            if self.problem is None:
                log.warning("TensorBoard: the events could not be written: %s", error)
            self._recorded = None
            self.problem = f"TensorBoard: the events could not be written to {self._file.parent}: {error}"


def recorded_epochs(folder: Path) -> set[int]:
    """Return the epochs that the event files of a folder have; what a kill has cut off does not count."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(folder.glob("events.out.tfevents.*")) if folder.is_dir() else []
    return {event.step for file in files for event in EventFileLoader(str(file)).Load() if event.HasField("summary")}


def _append(file: Path, rows: Iterable[EpochFigures]) -> None:
    """Write one event for each epoch, with all its figures, and put them on the disk."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        writer = RecordWriter(stream)
        if stream.tell() == 0:
            writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
            event = Event(wall_time=time.time(), step=row.epoch, summary=Summary(value=values))
            writer.write(event.SerializeToString())
        writer.flush()
        os.fsync(stream.fileno())
