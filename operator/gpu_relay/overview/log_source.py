"""Which pod has the log of a job."""

from dataclasses import dataclass

from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.job import Job


@dataclass(frozen=True)
class LogSource:
    """A pod of a job. `attempt` is None for the preparing pod."""

    pod: str
    attempt: int | None

    def __str__(self) -> str:
        return f"pod {self.pod} ({'preparation' if self.attempt is None else f'attempt {self.attempt}'})"


def newest_log_source(job: Job) -> LogSource | None:
    """Return the preparing pod while the job prepares, else the pod of the newest attempt; None before the first."""
    status, preparation = job.status, job.status.preparation
    if preparation is not None and (status.phase == Phase.PREPARING or not status.pod):
        return LogSource(preparation.pod, None)
    return LogSource(status.pod, status.attempt) if status.pod else None
