"""Pauses of Workloads whose turn has ended without use; their loss does no harm."""

from collections.abc import Callable
from dataclasses import dataclass

from gpu_relay.api.words import Reason
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.placement import Held


@dataclass(frozen=True)
class _Pause:
    message: str
    ends: float
    length: float


class WorkloadPauses:
    """Holds Workloads back, for longer each time."""

    def __init__(self, policy: Policy, monotonic: Callable[[], float]) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._pauses: dict[str, _Pause] = {}
        """By UID."""

    def hold(self, uid: str, message: str) -> None:
        """Hold a Workload back; each of its GPUs may report the same end."""
        now, before = self._monotonic(), self._pauses.get(uid)
        if before is not None and before.ends > now:
            return
        length = min(self._policy.backoff_cap, before.length * 2) if before else self._policy.backoff_base
        self._pauses[uid] = _Pause(message, now + length, length)
        self._pauses = {key: each for key, each in self._pauses.items() if each.ends + self._policy.backoff_cap > now}

    def held(self) -> Held:
        """Return why some Workloads get no GPU for now, by UID."""
        now = self._monotonic()
        return {
            uid: (Reason.WAITING_FOR_BACKOFF, each.message) for uid, each in self._pauses.items() if each.ends > now
        }

    def next_end(self) -> float | None:
        """Return the seconds until a pause ends; None if none lasts."""
        now = self._monotonic()
        return min((each.ends - now for each in self._pauses.values() if each.ends > now), default=None)
