# SPDX-License-Identifier: AGPL-3.0-only
"""What the checks of a job found, kept in `<output>/prepared.json`, so that they are done once.

A record is valid only for the very same job, and while the description of its data set has not changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from yolo_trainer.inputs.batch_size import MemoryNeed
from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.inputs.weights import WEIGHT_ARGUMENTS, WEIGHTS
from yolo_trainer.job.spec import Job
from yolo_trainer.storage import backends
from yolo_trainer.storage.atomic_file import write_atomically

RECORD = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """A job that passed its checks, with everything that its run needs."""

    dataset: Dataset
    model: str
    """What Ultralytics takes as `model`."""
    args: dict[str, Any]
    """`training.args`, with every weight file found."""
    described_by: Path
    """The file or folder whose change means that the data has to be checked again."""
    need: MemoryNeed | None = None
    """GPU memory that the training needs; where the batch is `auto`."""
    parameters: int = 0
    """Of the model."""
    transferred: int = 0
    """Bytes that were fetched."""
    seconds: float = 0.0
    """How long that and the checks took."""


class _Record(BaseModel):
    """The content of `prepared.json`."""

    fingerprint: str
    prepared: Prepared


def write_record(job: Job, prepared: Prepared) -> None:
    """Keep what the checks found, for `read_record` of a later process.

    Raises:
        OSError: the volume is full or cannot be written.

    """
    record = _Record(fingerprint=_fingerprint(job, prepared.described_by), prepared=prepared)
    write_atomically(job.output.path / RECORD, record.model_dump_json().encode())


def read_record(job: Job) -> Prepared | None:
    """Return what an earlier process has found for the same job; None if any of it is missing or has changed."""
    try:
        record = _Record.model_validate_json((job.output.path / RECORD).read_bytes())
        found = record.prepared
        current = _fingerprint(job, found.described_by)
    except (OSError, ValidationError):
        return None
    files = [value for name, value in found.args.items() if name in WEIGHT_ARGUMENTS and isinstance(value, str)]
    if backends.is_uri(job.model) or found.model.endswith(WEIGHTS):
        files.append(found.model)
    there = found.dataset.source.exists() and all(Path(file).is_file() for file in files)
    complete = found.need is not None or job.training.batch != "auto"
    return found if there and complete and record.fingerprint == current else None


def _fingerprint(job: Job, source: Path) -> str:
    """Return a digest of what was checked: the job's fields, and the state of the data set's description."""
    fields = job.model_dump_json(
        include={
            **dict.fromkeys(("job", "mode", "model", "task", "dataset", "training", "validation", "resume_from"), True),
            "output": {"export"},
        },
        exclude={"training": {"batch"}},
    )
    state = source.stat()
    return hashlib.sha256(f"{fields}{state.st_mtime_ns}{state.st_size}".encode()).hexdigest()
