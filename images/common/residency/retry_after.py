"""Estimates for the header `Retry-After`: how long requests, loads and unloads take, and when a hold ends. Pure."""

import math
from datetime import datetime
from enum import StrEnum

from residency.hold import Hold

MAX_RETRY_SECONDS = 300
DEFAULT_SECONDS = 2.0
WEIGHT = 0.25  # of the newest measurement


class Step(StrEnum):
    """What is measured."""

    REQUEST = "request"
    LOAD = "load"
    UNLOAD = "unload"


class Durations:
    """How long each step takes, in seconds: an exponentially weighted mean."""

    def __init__(self) -> None:
        self._means: dict[Step, float] = {}

    def record(self, step: Step, seconds: float) -> None:
        """Add a measurement to the mean."""
        before = self._means.get(step, seconds)
        self._means[step] = before + WEIGHT * (seconds - before)

    def mean(self, step: Step) -> float:
        """Return the mean; 2 s while nothing has been measured."""
        return self._means.get(step, DEFAULT_SECONDS)


def retry_after(seconds: float) -> int:
    """Return the whole seconds for the header `Retry-After`: at least 1, at most 300."""
    return max(1, min(math.ceil(seconds), MAX_RETRY_SECONDS))


def seconds_until_end(hold: Hold, now: float, wall: datetime) -> float:
    """Return the seconds until a hold ends: at its holder's eta, or, without one or after it, when it expires."""
    left = (hold.terms.eta - wall).total_seconds() if hold.terms.eta else 0.0
    return left if left > 0 else hold.expires_in(now)
