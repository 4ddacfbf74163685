# SPDX-License-Identifier: AGPL-3.0-only
"""The progress bar: in each epoch's line of the log, and in the last line of a terminal."""

from __future__ import annotations

from typing import TextIO

from yolo_trainer.training.progress import Progress

WIDTH = 20
_CLEAR = "\r\x1b[K"


def bar(done: float, width: int = WIDTH) -> str:
    """Return a bar of which a share, from 0 to 1, is filled."""
    filled = round(min(1.0, max(0.0, done)) * width)
    return "█" * filled + "░" * (width - filled)


def line(now: Progress) -> str:
    """Return the progress as one line, with its bar."""
    batches = now.batch / now.batches if now.batches and now.epoch < now.epochs else 0.0
    parts = [f"epoch {min(now.epoch + 1, now.epochs)}/{now.epochs} {bar((now.epoch + batches) / max(1, now.epochs))}"]
    if now.batches:
        parts.append(f"batch {now.batch}/{now.batches}")
    if now.images_per_second is not None:
        parts.append(f"{now.images_per_second:.1f} images/s")
    if now.eta_seconds is not None:
        minutes, seconds = divmod(round(now.eta_seconds), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)


class Terminal:
    """A terminal that the log is written to, with a bar in its last line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar = ""

    def write(self, text: str) -> int:
        """Write a piece of the log above the bar."""
        ends = text.endswith("\n")
        self._stream.write(f"{_CLEAR if self._bar else ''}{text}{self._bar if ends else ''}")
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def show(self, now: Progress) -> None:
        """Update the bar."""
        self._bar = line(now)
        self._stream.write(f"{_CLEAR}{self._bar}")
        self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._stream.write(_CLEAR)
        self._bar = ""
