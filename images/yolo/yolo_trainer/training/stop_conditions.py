# SPDX-License-Identifier: AGPL-3.0-only
"""When a training run ends: after its epochs, without improvement (patience), or at its time limit.

Time is counted over all attempts: each checkpoint says how much its epochs have taken. So what an interrupted attempt
did after its last checkpoint does not count, as it is done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any


class Ending(StrEnum):
    """Why no further epoch is trained, by its name in the manifest."""

    EPOCHS = "epochs"
    PATIENCE = "patience"
    TIME_LIMIT = "timeLimit"


class TrainingTime:
    """Counts the seconds of a run, those of earlier attempts included."""

    def __init__(self, limit_seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_seconds
        self._clock = clock
        self._began = clock()

    def begin(self, earlier_seconds: float) -> None:
        """Begin to count, from what the checkpoint's epochs took."""
        self._began = self._clock() - earlier_seconds

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until the limit; None without one."""
        return None if self._limit is None else max(0.0, self._limit - self.spent)


def ending_of(trainer: Any, time_left: float | None) -> Ending | None:
    """Say why an Ultralytics trainer, whose epoch was just saved, trains no further one; None when it does."""
    if trainer.epoch + 1 >= trainer.epochs:
        return Ending.EPOCHS
    if trainer.stop:
        return Ending.PATIENCE
    return Ending.TIME_LIMIT if time_left == 0.0 else None
