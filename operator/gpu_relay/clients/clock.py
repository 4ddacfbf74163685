"""The cluster's time: the API server's clock, by which it stamps what it creates, and not this machine's.

Deadlines, pauses and outages are counted from times that the API server or an earlier leader has written. Where this
machine's clock is off by an hour, `now` is not: every answer carries the server's `Date`, which bounds the difference.
"""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol


class Clock(Protocol):
    """The time, as the controllers read it."""

    def now(self) -> datetime:
        """Return the cluster's time."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary moment: of this process only, and never set back."""


class ClusterClock:
    """The difference between the server's clock and ours, narrowed by each answer to what it allows."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def heard(self, date: str, asked: float, answered: float) -> None:
        """Take in an answer's `Date` (whole seconds, cut off); asked and answered by our own clock, in seconds."""
        try:
            server = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        self._ahead = min(max(self._ahead, server - answered), server + 1 - asked)

    def now(self) -> datetime:
        """Return the cluster's time, to within a second and the length of a request."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def monotonic(self) -> float:
        """Return the seconds of this machine's monotonic clock."""
        return time.monotonic()


CLUSTER = ClusterClock()
"""The clock of the one cluster that this process works for."""


def now() -> datetime:
    """Return the cluster's time."""
    return CLUSTER.now()
