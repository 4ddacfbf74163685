"""A job's history: its attempts, and what its Events add."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gpu_relay.api.v1alpha1 import Attempt
from gpu_relay.api.words import TERMINAL_PHASES, YIELDED_REASONS, Reason
from gpu_relay.domain.job.attempts import failed_attempts
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import parse_time
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.views.times import span

_FINE = YIELDED_REASONS | {Reason.COMPLETED, Reason.INTERRUPTED}


@dataclass(frozen=True)
class HistoryEntry:
    """A line of the job's history."""

    at: datetime
    text: str
    warning: bool


def history(snapshot: ClusterSnapshot, job: Job) -> list[HistoryEntry]:
    """Return the attempts in the status and what Events add, oldest first; each once."""
    events = (
        each for each in snapshot.events or () if each.uid == job.key.uid and each.reason != Reason.TRAINING_ENDED
    )
    found = [
        HistoryEntry(parse_time(job.created), "created", False),
        *(_ended(attempt) for attempt in job.status.attempts),
        *_failures(job),
        *(HistoryEntry(each.at, f"{each.reason}: {each.message}", each.warning) for each in events),
    ]
    return sorted(found, key=lambda each: each.at)


def _ended(attempt: Attempt) -> HistoryEntry:
    end = parse_time(attempt.completion_time)
    took = f", after {span(end - parse_time(attempt.start_time))}" if attempt.start_time else ""
    epoch = f" at epoch {attempt.epoch}" if attempt.epoch is not None else ""
    text = f"attempt {attempt.number} ended{epoch}{took}: {attempt.reason}: {attempt.message}"
    return HistoryEntry(end, text, attempt.reason not in _FINE)


def _failures(job: Job) -> Iterator[HistoryEntry]:
    failures = failed_attempts(job)
    if failures and job.status.phase not in TERMINAL_PHASES:
        left = max(0, job.spec.backoff_limit + 1 - failures)
        count = f"{failures} of its attempts count as failed; it may have {left} more (spec.backoffLimit)"
        yield HistoryEntry(parse_time(job.status.attempts[-1].completion_time), count, True)
