# SPDX-License-Identifier: AGPL-3.0-only
"""The exit codes of the trainer, and the termination message that the operator reads."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from yolo_trainer.errors import Reason
from yolo_trainer.text import without_colours

log = logging.getLogger(__name__)

DEFAULT_TERMINATION_MESSAGE_PATH = Path("/dev/termination-log")

LIMIT_BYTES = 4096
"""What the kubelet keeps of a termination message."""

EXIT_CODES: Mapping[Reason, int] = {
    Reason.COMPLETED: 0,
    Reason.ERROR: 1,
    Reason.GPU_MEMORY_UNAVAILABLE: 10,
    Reason.WRONG_GPU: 11,
    Reason.OUT_OF_MEMORY: 12,
    Reason.DATASET_INVALID: 13,
    Reason.CONFIG_INVALID: 14,
    Reason.INTERRUPTED: 143,
}


@dataclass(frozen=True)
class TerminationMessage:
    """How an attempt ended, for the operator. Memory in MiB."""

    reason: Reason
    message: str
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)
    peak_memory_mib: int = 0
    batch: int = 0
    """Images per batch; 0 while none was chosen."""
    export_errors: Mapping[str, str] = field(default_factory=dict)
    """Formats that could not be made, and why."""
    validation: Mapping[str, Any] | None = None
    """Split and metrics of a further validation; None if there was none."""
    prepared: Mapping[str, Any] | None = None
    """What `prepare` found and fetched; None for a training run."""
    review: Mapping[str, int] | None = None
    """Labels that a person has to approve, and how many of them are doubtful; None if the job does not wait for it."""
    tracking: Mapping[str, str] = field(default_factory=dict)
    """Where the run is recorded, by tracking service."""

    def __post_init__(self) -> None:
        """Remove terminal colours from the message: libraries put them into theirs."""
        object.__setattr__(self, "message", without_colours(self.message))

    @property
    def exit_code(self) -> int:
        """The process's exit code."""
        return EXIT_CODES[self.reason]

    def encode(self, limit: int = LIMIT_BYTES) -> bytes:
        """Return it as JSON of at most `limit` bytes: the message is cut first, then paths are left out."""
        bare = replace(self, exports={}, export_errors={}, tracking={})
        for termination in (self, replace(self, export_errors={}), bare, replace(bare, weights={})):
            fitted = termination._cut_to(limit)
            if fitted is not None:
                return fitted
        return TerminationMessage(self.reason, "", self.epoch, self.epochs)._json()

    def _cut_to(self, limit: int) -> bytes | None:
        """Return the JSON with as much of the message as fits; None if less than 100 characters fit."""
        message = self.message
        while True:
            shown = message if message == self.message else f"{message}…"
            encoded = replace(self, message=shown)._json()
            if len(encoded) <= limit:
                return encoded
            if len(message) < 100:
                return None
            message = message[: -max(1, (len(encoded) - limit) // 4)]

    def _json(self) -> bytes:
        content: dict[str, Any] = {
            "reason": self.reason.value,
            "message": self.message,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "metrics": {name: round(value, 5) for name, value in self.metrics.items() if math.isfinite(value)},
            "weights": dict(self.weights),
            "exports": dict(self.exports),
            "exportErrors": dict(self.export_errors),
            "peakMemoryMiB": self.peak_memory_mib,
            "batch": self.batch,
        }
        if self.validation is not None:
            content["validation"] = dict(self.validation)
        if self.prepared is not None:
            content["prepared"] = dict(self.prepared)
        if self.review is not None:
            content["review"] = dict(self.review)
        if self.tracking:
            content["tracking"] = dict(self.tracking)
        # File names may hold bytes that are no UTF-8; "replace" keeps the JSON readable for any parser.
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace")


def write_termination_message(termination: TerminationMessage, path: Path) -> None:
    """Write the termination message to a file. The default file exists only if the kubelet has created it."""
    if path == DEFAULT_TERMINATION_MESSAGE_PATH and not path.exists():
        return
    try:
        path.write_bytes(termination.encode())
    except OSError as error:
        log.warning(
            "The termination message could not be written to %s (%s); it was: %s",
            path,
            error.strerror,
            termination.message,
        )
