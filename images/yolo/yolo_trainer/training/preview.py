# SPDX-License-Identifier: AGPL-3.0-only
"""An image of the model's present predictions: Ultralytics draws one only at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE_NAME = "val_batch0_pred.jpg"
"""What Ultralytics calls it."""
MAX_BYTES = 4 * 2**20
"""Bytes; a larger image is not served."""
PAUSE_SECONDS = 300.0
_JPEG_END = b"\xff\xd9"


class Preview:
    """Lets a validation draw the predictions of its first batch, if the last image is old enough."""

    def __init__(self, wanted: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`wanted` is whether the job has plots."""
        self._wanted = wanted
        self._clock = clock
        self._drawn_at: float | None = None
        self._drawing = False

    def follow(self, trainer: Any) -> None:
        """Register with the validations of a training run."""
        trainer.add_callback("on_val_start", self.begin)
        trainer.add_callback("on_val_batch_end", self.end_batch)

    def begin(self, validator: Any) -> None:
        """Turn plots on for the first batch, unless they are on for all."""
        now = self._clock()
        if not self._wanted or validator.args.plots:
            return
        if self._drawn_at is None or now - self._drawn_at >= PAUSE_SECONDS:
            self._drawn_at, self._drawing, validator.args.plots = now, True, True

    def end_batch(self, validator: Any) -> None:
        """Turn them off again: the other plots are drawn only at the end."""
        if self._drawing:
            self._drawing, validator.args.plots = False, False


def latest_preview(folder: Path) -> bytes | None:
    """Return the newest image (JPEG) in a run's folder; None while there is none, or it is incomplete."""
    try:
        with (folder / FILE_NAME).open("rb") as stream:
            preview = stream.read(MAX_BYTES + 1)
    except OSError:
        return None
    return preview if len(preview) <= MAX_BYTES and preview.endswith(_JPEG_END) else None
