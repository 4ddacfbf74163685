# SPDX-License-Identifier: AGPL-3.0-only
"""Handle SIGTERM and SIGINT: end immediately if no work is lost, else between two batches."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from yolo_trainer.errors import Reason
from yolo_trainer.termination import EXIT_CODES

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """The process was asked to end. A SystemExit, so that no `except Exception` catches it."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODES[Reason.INTERRUPTED])


class Interruption:
    """Turns the signals of this process into `Interrupted`, raised in the main thread."""

    def __init__(self) -> None:
        self._requested = False
        self._deferred = False
        self._pid = os.getpid()

    def install(self) -> None:
        """Handle the signals. Call in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Ignore the signals, so that nothing interrupts the termination message."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals to the next `check`, or to the end of the block."""
        self.check()
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    @property
    def requested(self) -> bool:
        """Whether a signal has come that waits for the next `check`."""
        return self._requested

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self._requested:
            raise Interrupted

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data-loading process that was forked from this one: nothing to save
            os._exit(EXIT_CODES[Reason.INTERRUPTED])
        self._requested = True
        if not self._deferred:
            raise Interrupted
