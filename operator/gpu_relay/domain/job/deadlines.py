"""How long a job may be active, and how long it is kept after it has finished, as in batch/v1 Job."""

from datetime import datetime, timedelta

from gpu_relay.api.words import TERMINAL_PHASES
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import parse_time


def deadline(job: Job) -> datetime | None:
    """Return when an active job fails with DeadlineExceeded; None while it has no deadline, or is suspended."""
    seconds, started = job.spec.active_deadline_seconds, job.status.start_time
    if seconds is None or started is None or job.spec.suspend or job.status.phase in TERMINAL_PHASES:
        return None
    return parse_time(started) + timedelta(seconds=seconds)


def deadline_message(job: Job) -> str:
    """Return the message of a job past its deadline."""
    return f"active for longer than activeDeadlineSeconds ({job.spec.active_deadline_seconds} s)"


def expires_at(job: Job) -> datetime | None:
    """Return when a finished job is deleted; None if it has not finished, or is kept."""
    seconds, ended = job.spec.ttl_seconds_after_finished, job.status.completion_time
    if seconds is None or ended is None or job.deleting or job.status.phase not in TERMINAL_PHASES:
        return None
    return parse_time(ended) + timedelta(seconds=seconds)
