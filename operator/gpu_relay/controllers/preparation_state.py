"""What one process remembers of a job's preparation between two reconciles; its loss does no harm."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.pod import TrainingPod

_PAUSES = {"obstacle": (10.0, 60.0), "creation": (1.0, 60.0), "error": (1.0, 15.0)}
"""The first and the longest pause before a retry, in seconds; the pause doubles each time."""


@dataclass
class PreparationState:
    """The state of one job's preparation."""

    monotonic: Callable[[], float] = time.monotonic
    share: bool | None = None
    """Whether a pod may be created, by the last distribution of slots; None if unknown or not needed."""
    woken_for: tuple[int, int, bool | None] | None = None
    """Generation, number of the last preparation, and share, for which the job was last reconciled."""
    obstructed: int = 0
    """Reconciles in a row that found an obstacle."""
    refusal: tuple[Reason, str] | None = None
    failure: str = ""
    failures: int = 0
    next_try: float = 0.0
    """When a failed creation may be retried (monotonic, seconds)."""
    errors: int = 0
    """Reconciles in a row that ended with an error of the API server."""
    rests_until: float = 0.0
    """Until when the job is not reconciled (monotonic, seconds)."""
    written: tuple[str, YoloTrainingJobStatus] | None = None
    """The version of the job that a status of this process has replaced, and that status."""
    pods: dict[str, TrainingPod] = field(default_factory=dict)
    """The job's preparing pods that still run or may, by UID."""

    def retry_in(self) -> float:
        """Return the seconds until an obstacle is checked again, or a failed creation retried; 0 retries it now."""
        if self.obstructed:
            return backoff("obstacle", self.obstructed)
        return max(0.0, self.next_try - self.monotonic())

    def rest(self) -> float:
        """Return the seconds for which the job is not reconciled."""
        return max(0.0, self.rests_until - self.monotonic())


def backoff(kind: str, tries: int) -> float:
    """Return the seconds until the next retry of a kind, after this many tries."""
    first, longest = _PAUSES[kind]
    return float(min(longest, first * 2.0 ** min(tries - 1, 10)))
