"""What one process remembers of a job's preparation between two looks; it is lost without harm."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.pod import TrainingPod

_PAUSES = {"obstacle": (10.0, 60.0), "creation": (1.0, 60.0), "error": (1.0, 15.0)}
"""Seconds after which something is tried again: the first time, and at most; the pause doubles each time."""


@dataclass
class PreparationState:
    """The state of one job's preparation."""

    monotonic: Callable[[], float] = time.monotonic
    share: bool | None = None
    """Whether a pod may be created, as the slots were last shared out; None where that is not known, or no question."""
    woken_for: tuple[int, int, bool | None] | None = None
    """Generation, number of the last preparation, and share, for which the job was last looked at."""
    obstructed: int = 0
    """Looks in a row that found something in the way of the pod."""
    refusal: tuple[Reason, str] | None = None
    failure: str = ""
    failures: int = 0
    next_try: float = 0.0
    """When a failed creation may be repeated (monotonic, seconds)."""
    errors: int = 0
    """Looks in a row that the API server ended with an error."""
    rests_until: float = 0.0
    """Before this, the job is not looked at (monotonic, seconds)."""
    written: tuple[str, YoloTrainingJobStatus] | None = None
    """The version of the job that a status of this process has replaced, and that status."""
    pods: dict[str, TrainingPod] = field(default_factory=dict)
    """The job's preparing pods that still run or may, by UID."""

    def retry_in(self) -> float:
        """Return the seconds until an obstacle is looked at again, or a failed creation repeated; 0 repeats it now."""
        if self.obstructed:
            return backoff("obstacle", self.obstructed)
        return max(0.0, self.next_try - self.monotonic())

    def rest(self) -> float:
        """Return the seconds for which the job is not to be looked at."""
        return max(0.0, self.rests_until - self.monotonic())


def backoff(kind: str, tries: int) -> float:
    """Return the seconds until the next try of a kind of thing, after so many."""
    first, longest = _PAUSES[kind]
    return float(min(longest, first * 2.0 ** min(tries - 1, 10)))
