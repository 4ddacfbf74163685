# SPDX-License-Identifier: AGPL-3.0-only
"""The whole state of a run at the end of an epoch, in one file, so no part of it can be older than the rest.

It holds Ultralytics' own checkpoint byte for byte, since to read that and write it again with more in it would cost
several times as much, in every epoch. What is added goes past `torch.save`, which is slow with thousands of tensors.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from yolo_trainer.training.stop_conditions import Ending

_MOVED = {"yolo_trainer.snapshot": __name__, "yolo_trainer.ending": Ending.__module__}
"""Modules that checkpoints of earlier versions name, and the modules that have their classes now."""


@dataclass(frozen=True)
class Course:
    """How far a run has come."""

    epochs: int = 0
    """Finished ones."""
    seconds: float = 0.0
    """What they took, in all attempts."""
    ending: Ending | None = None
    """Why no further one is trained; None when there is one."""


@dataclass(frozen=True)
class Snapshot:
    """What a later attempt resumes from."""

    course: Course
    checkpoint: bytes
    """Ultralytics' own, as a file."""
    state: dict[str, Any]
    """What that leaves out (`resume_state`)."""


def write_snapshot(target: Path, course: Course, checkpoint: Path, state: dict[str, Any]) -> None:
    """Write a snapshot, with Ultralytics' checkpoint from its file.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.

    """
    with target.open("wb") as file:
        _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(Snapshot(course, checkpoint.read_bytes(), state))


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot, and check that Ultralytics can read its checkpoint.

    Raises:
        Exception: of any type: `write_snapshot` did not write the file.

    """
    import torch

    with file.open("rb") as stream:
        snapshot = _Unpickler(stream).load()
    if not isinstance(snapshot, Snapshot):
        raise TypeError(f"a {type(snapshot).__name__} is no snapshot")
    torch.load(BytesIO(snapshot.checkpoint), map_location="cpu", weights_only=False)
    return snapshot


class _Unpickler(pickle.Unpickler):
    """Reads snapshots of this version and of earlier ones. The job's own output is trusted."""

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(_MOVED.get(module, module), name)


class _Pickler(pickle.Pickler):
    """Writes tensors as arrays, which read again are tensors on the CPU."""

    def reducer_override(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        try:
            return torch.from_numpy, (value.detach().cpu().numpy(),)
        except TypeError:  # a type that NumPy lacks, such as bfloat16
            return NotImplemented
