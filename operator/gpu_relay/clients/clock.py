"""The cluster's time: that of the API server, which sets the times of the objects that it creates.

Deadlines, pauses and outages count from times that the API server or an earlier leader has written. `now` is right even
if the clock of this machine is not: the `Date` of every response bounds the difference between the two clocks.
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
    """The difference between the server's clock and that of this machine; each response narrows it."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def heard(self, date: str, asked: float, answered: float) -> None:
        """Record the `Date` of a response (truncated to seconds); `asked` and `answered` are local times in seconds."""
        try:
            server = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        self._ahead = min(max(self._ahead, server - answered), server + 1 - asked)

    def now(self) -> datetime:
        """Return the cluster's time. The error is less than a second plus the duration of a request."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def monotonic(self) -> float:
        """Return the seconds of this machine's monotonic clock."""
        return time.monotonic()


CLUSTER = ClusterClock()
"""The clock of the cluster of this process."""


def now() -> datetime:
    """Return the cluster's time."""
    return CLUSTER.now()
