"""How long a job may be active, and how long it is kept when it is over: as batch/v1 Job has it."""

from datetime import datetime, timedelta

from gpu_relay.api.words import TERMINAL_PHASES
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import parse_time


def deadline(job: Job) -> datetime | None:
    """Return when an active job fails with DeadlineExceeded; None while it has no deadline, or its clock stands."""
    seconds, started = job.spec.active_deadline_seconds, job.status.start_time
    if seconds is None or started is None or job.spec.suspend or job.status.phase in TERMINAL_PHASES:
        return None
    return parse_time(started) + timedelta(seconds=seconds)


def deadline_message(job: Job) -> str:
    """Say which deadline a job has missed."""
    return f"active for longer than activeDeadlineSeconds ({job.spec.active_deadline_seconds} s)"


def expires_at(job: Job) -> datetime | None:
    """Return when a job that is over is deleted; None for one that is not, or is kept."""
    seconds, ended = job.spec.ttl_seconds_after_finished, job.status.completion_time
    if seconds is None or ended is None or job.deleting or job.status.phase not in TERMINAL_PHASES:
        return None
    return parse_time(ended) + timedelta(seconds=seconds)
