"""When to ask again: an estimate from how long requests and loads took, and from when a hold is to end. Pure."""

import math
from datetime import datetime
from enum import StrEnum

from sam3_server.residency.hold import Hold

LONGEST_RETRY_SECONDS = 300
UNKNOWN_SECONDS = 2.0
WEIGHT = 0.25  # of the newest measurement


class Step(StrEnum):
    """What is measured."""

    REQUEST = "request"
    LOAD = "load"
    UNLOAD = "unload"


class Pace:
    """How long each step takes, in seconds: a mean in which the newest measurement counts most."""

    def __init__(self) -> None:
        self._means: dict[Step, float] = {}

    def note(self, step: Step, seconds: float) -> None:
        """Take a measurement into account."""
        mean = self._means.get(step, seconds)
        self._means[step] = mean + WEIGHT * (seconds - mean)

    def of(self, step: Step) -> float:
        """Return the mean; 2 s while nothing has been measured."""
        return self._means.get(step, UNKNOWN_SECONDS)


def retry_after(seconds: float) -> int:
    """Return the whole seconds for the header `Retry-After`: at least 1, at most 300."""
    return max(1, min(math.ceil(seconds), LONGEST_RETRY_SECONDS))


def until_end(hold: Hold, now: float, wall: datetime) -> float:
    """Return the seconds until a hold is to end: at its holder's eta, or, without one or after it, when it expires."""
    left = (hold.terms.eta - wall).total_seconds() if hold.terms.eta else 0.0
    return left if left > 0 else hold.expires_in(now)
