# SPDX-License-Identifier: AGPL-3.0-only
"""All of a training at the end of an epoch, in one file, which is so either old or new as a whole.

It holds Ultralytics' own checkpoint byte for byte. Reading that and writing it again with more in it would cost three
times as much, in every epoch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from yolo_trainer.ending import Ending


@dataclass(frozen=True)
class Course:
    """How far a training has come."""

    epochs: int = 0
    """Finished ones."""
    seconds: float = 0.0
    """What they took, in all attempts."""
    ending: Ending | None = None
    """Why no further one is trained; None when there is one."""


@dataclass(frozen=True)
class Snapshot:
    """What a later attempt goes on from."""

    course: Course
    checkpoint: bytes
    """Ultralytics' own, as a file."""
    state: dict[str, Any]
    """What that leaves out (`continuity`)."""


def write_snapshot(target: Path, course: Course, checkpoint: Path, state: dict[str, Any]) -> None:
    """Write a snapshot, with Ultralytics' checkpoint from its file.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.

    """
    import torch

    size = checkpoint.stat().st_size
    content = torch.from_file(str(checkpoint), shared=False, size=size, dtype=torch.uint8)
    torch.save({"course": asdict(course), "checkpoint": content, "state": state}, target)


def read_snapshot(file: Path) -> Snapshot:
    """Read a snapshot, and see that Ultralytics will be able to read its checkpoint.

    Raises:
        Exception: of many kinds: the file is not what `write_snapshot` writes.

    """
    import torch

    content = torch.load(file, map_location="cpu", weights_only=False)
    checkpoint = content["checkpoint"].numpy().tobytes()
    torch.load(BytesIO(checkpoint), map_location="cpu", weights_only=False)
    course = content["course"]
    ending = None if course["ending"] is None else Ending(course["ending"])
    return Snapshot(Course(course["epochs"], course["seconds"], ending), checkpoint, content["state"])
