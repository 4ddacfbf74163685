"""The record of usage, from outside: the seconds of all owners of a GPU add up, also by the observer's clock."""

import time
from dataclasses import dataclass, field

from gpu_relay.clients.kube import Object
from gpu_relay.domain.objects.usage import usage_of

_EXACT = 0.1
_CLOCK = 1.0
"""Seconds by which an operator's time may be wrong: dates of responses have whole seconds."""
_LATE = 6.0
"""Seconds from the time that a write of a Lease names to its event: the longest delay of a call, on a busy machine."""


@dataclass(frozen=True)
class _Count:
    """What a version of a Lease has counted: in all, and until when; and when it was seen (monotonic). Seconds."""

    total: float
    until: float
    seen: float


@dataclass
class Ledger:
    """The first and the last count of each Lease."""

    _first: dict[str, _Count] = field(default_factory=dict)
    _last: dict[str, _Count] = field(default_factory=dict)

    def changed(self, gpu: str, lease: Object) -> None:
        """Note what a version of a Lease has counted. A Lease that replaces a deleted one begins with 0."""
        key = f"{gpu}/{lease['metadata']['uid']}"
        usage = usage_of(lease["metadata"].get("annotations", {}).get("gpurelay.dev/usage", ""))
        assert usage is not None, f"the Lease {key} has no record"
        total = sum(each.owned + each.reloading for day in usage.days.values() for each in day.values())
        self._last[key] = _Count(total, usage.counted_to.timestamp(), time.monotonic())
        self._first.setdefault(key, self._last[key])

    def verdict(self, starts: int) -> list[str]:
        """Return what does not add up, after so many starts of operators."""
        found = []
        for key, first in self._first.items():
            last = self._last[key]
            counted, named, passed = last.total - first.total, last.until - first.until, last.seen - first.seen
            if abs(counted - named) > _EXACT or abs(counted - passed) > _CLOCK * (1 + starts) + _LATE:
                found.append(f"{counted:.1f} s of {key} are counted in {passed:.1f} s, {named:.1f} s by its own record")
        return found
