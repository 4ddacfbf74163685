"""Waiting for something to become true, with a deadline that fails with the last thing seen."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, *, within: float = 30.0, every: float = 0.1) -> T:
    """Return the first truthy value of `look`; AssertionError names `what` when none comes within the deadline."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:.0f} s; last seen: {seen!r}")
        time.sleep(every)
