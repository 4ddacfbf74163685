"""Ctrl-C and SIGTERM: the first one stops the demo; a removal that has begun is completed."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interruptible() -> None:
    """Let either signal raise KeyboardInterrupt, once."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def uninterrupted() -> None:
    """Ignore both from now on. Programs started later ignore them too: a Ctrl-C reaches the whole terminal's group."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    uninterrupted()
    raise KeyboardInterrupt
