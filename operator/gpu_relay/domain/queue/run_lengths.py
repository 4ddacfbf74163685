"""The expected length of a training run: by the seconds per epoch of completed jobs that trained the same."""

from collections.abc import Hashable, Iterable
from datetime import timedelta
from statistics import median

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import duration, parse_time

_MOST_LONGER = 4
"""A run is a basis for at most this many times its own epochs: start and validation dominate short runs."""


def has_trained(job: Job) -> bool:
    """True for a job with a completed attempt, which shows how long an epoch takes."""
    return any(attempt.reason == Reason.COMPLETED for attempt in job.status.attempts)


class Lengths:
    """The lengths of future turns. Jobs train the same where namespace, model, task, data and image size are equal."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Learn from completed attempts of jobs; others are ignored."""
        self._runs: dict[Hashable, list[tuple[int, float]]] = {}
        """Epochs of an attempt and its seconds per epoch, by what was trained."""
        self._known: dict[tuple[Hashable, int], float | None] = {}
        for job in jobs:
            for number, attempt in enumerate(job.status.attempts):
                before = _epochs(job, job.status.attempts[:number])
                epochs = (attempt.epoch or 0) - before if before is not None else 0
                if attempt.reason == Reason.COMPLETED and attempt.start_time is not None and epochs > 0:
                    seconds = (parse_time(attempt.completion_time) - parse_time(attempt.start_time)).total_seconds()
                    self._runs.setdefault(_trains(job), []).append((epochs, seconds / epochs))

    def of(self, job: Job) -> timedelta | None:
        """Return how long a job's next or current turn should train; None without a basis."""
        if not self._runs:
            return None
        finished = _epochs(job, job.status.attempts)
        if not job.spec.trains or finished is None:
            return None
        left = max(0, job.spec.training.epochs - finished)
        seconds = self._seconds(_trains(job), left)
        if seconds is None:
            return None
        limit = job.spec.training.time_limit
        return min(timedelta(seconds=seconds), duration(limit)) if limit else timedelta(seconds=seconds)

    def _seconds(self, trains: Hashable, epochs: int) -> float | None:
        if (trains, epochs) not in self._known:
            runs = self._runs.get(trains, ())
            paces = [pace for trained, pace in runs if epochs <= _MOST_LONGER * trained]
            self._known[trains, epochs] = median(paces) * epochs if paces else None
        return self._known[trains, epochs]


def _trains(job: Job) -> Hashable:
    """Return what makes an epoch of two jobs comparable."""
    spec, data = job.spec, job.spec.dataset
    claim = data.persistent_volume_claim.claim_name if data.persistent_volume_claim else ""
    return job.key.namespace, spec.model, spec.task, claim, data.uri, data.path, spec.training.image_size


def _epochs(job: Job, attempts: Iterable[Attempt]) -> int | None:
    """Return the epochs after which the last checkpoint of these attempts was written.

    None before the first of a job that continues a finished run, whose epochs are unknown here.
    """
    finished = max((attempt.epoch or 0 for attempt in attempts), default=0)
    return None if job.spec.resume_from is not None and not finished else finished
