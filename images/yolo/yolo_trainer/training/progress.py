# SPDX-License-Identifier: AGPL-3.0-only
"""The progress of a run: written by the training, read by the HTTP server's threads."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """What the trainer is doing."""

    PREPARING = "preparing"
    TRAINING = "training"
    VALIDATING = "validating"
    EXPORTING = "exporting"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """The progress at one moment. `epoch` counts finished epochs, `batch` finished batches of the present one."""

    stage: Stage = Stage.PREPARING
    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    batches: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    epoch_losses: Mapping[str, float] = field(default_factory=dict)
    """Mean losses of the last finished epoch; `losses` are those of the present one."""
    images_per_second: float | None = None
    eta_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the answer of `GET /progress`, without the GPU memory."""
        return {
            "stage": self.stage.value,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "batch": self.batch,
            "batches": self.batches,
            "metrics": _finite(self.metrics),
            "losses": _finite(self.losses),
            "epoch_losses": _finite(self.epoch_losses),
            "images_per_second": None if self.images_per_second is None else round(self.images_per_second, 1),
            "eta_seconds": None if self.eta_seconds is None else round(self.eta_seconds),
        }


class ProgressTracker:
    """Keeps the present `Progress`. One thread writes, any number read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now = Progress()
        self._epoch_began = clock()
        self._images = 0
        self._epoch_seconds: list[float] = []
        self._last_epoch_by = math.inf

    def snapshot(self) -> Progress:
        """Return the present progress."""
        with self._lock:
            return self._now

    def enter(self, stage: Stage) -> None:
        """Enter a stage."""
        self._set(stage=stage)

    def plan(self, epochs: int, finished: int = 0) -> None:
        """Set the number of epochs, and how many of them are in the checkpoint."""
        self._set(epochs=epochs, epoch=min(finished, epochs))

    def begin_epoch(self, batches: int, seconds_left: float | None = None) -> None:
        """Begin the next epoch; `seconds_left` are those of the training's time limit, where it has one."""
        self._epoch_began, self._images = self._clock(), 0
        self._last_epoch_by = math.inf if seconds_left is None else self._epoch_began + seconds_left
        self._set(stage=Stage.TRAINING, batch=0, batches=batches)

    def end_batch(self, images: int, losses: Mapping[str, float]) -> None:
        """Count a batch of so many images; `losses` are means over the epoch so far."""
        now, seconds = self.snapshot(), self._clock() - self._epoch_began
        self._images += images
        batch = min(now.batch + 1, now.batches)
        per_epoch = self._mean_epoch_seconds() or seconds * now.batches / max(batch, 1)
        self._set(
            batch=batch,
            losses=dict(losses),
            images_per_second=self._images / seconds if seconds > 0 else None,
            eta_seconds=self._eta(per_epoch - seconds, now.epochs - now.epoch - 1, per_epoch),
        )

    def end_epoch(self, metrics: Mapping[str, float]) -> float:
        """Count an epoch, its validation included, and return the seconds that it took."""
        seconds = self._clock() - self._epoch_began
        self._epoch_seconds.append(seconds)
        now = self.snapshot()
        epoch = min(now.epoch + 1, now.epochs)
        eta = self._eta(0.0, now.epochs - epoch, self._mean_epoch_seconds() or 0.0)
        self._set(stage=Stage.TRAINING, epoch=epoch, metrics=dict(metrics), epoch_losses=now.losses, eta_seconds=eta)
        return seconds

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the final validation's metrics."""
        self._set(metrics=dict(metrics), eta_seconds=0.0)

    def _eta(self, rest: float, epochs: int, per_epoch: float) -> float:
        """Return the seconds of an epoch's rest and of so many more; none begins after the time limit."""
        left = self._last_epoch_by - self._clock() - rest
        if left < epochs * per_epoch:
            epochs = max(0, math.ceil(left / per_epoch))
        return max(0.0, rest + epochs * per_epoch)

    def _mean_epoch_seconds(self) -> float | None:
        return sum(self._epoch_seconds) / len(self._epoch_seconds) if self._epoch_seconds else None

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._now = replace(self._now, **changes)


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Round for readers, and return None for NaN: JSON has no NaN."""
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in figures.items()}
