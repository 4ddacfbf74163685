"""Which pod has the log of a job, and what to say of a pod that has none."""

from datetime import datetime

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import parse_time
from gpu_relay.overview.log_source import LogSource, newest_log_source
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.views.losses import results_at
from kubectl_relay.views.progress import message
from kubectl_relay.views.times import span


def log_source(job: Job, attempt: int | None = None) -> LogSource:
    """Return the pod of an attempt; without a number, the one with the newest log.

    RelayError where there has been no such pod.
    """
    if attempt is not None:
        return LogSource(_pods(job).get(attempt) or _no_attempt(job, attempt), attempt)
    if (newest := newest_log_source(job)) is not None:
        return newest
    why = f" ({message(job)})" if message(job) else ""
    raise RelayError(f"{job.key} has had no pod yet, so it has no log{why}")


def pod_gone(job: Job, source: LogSource, now: datetime) -> RelayError:
    """Return the error of a pod that no longer exists: how it ended, and where its results are."""
    return RelayError(" ".join([f"{source} no longer exists, nor does its log.", *_ending(job, source, now)]))


def not_started(job: Job, source: LogSource, why: str) -> RelayError:
    """Return the error of a pod that has no log yet."""
    return RelayError(
        f"{source} has not started: {why}. Add --follow to wait for it; "
        f"`kubectl relay -n {job.key.namespace} explain {job.key.name}` says more"
    )


def _pods(job: Job) -> dict[int, str]:
    pods = {attempt.number: attempt.pod for attempt in job.status.attempts}
    if job.status.attempt and job.status.pod:
        pods[job.status.attempt] = job.status.pod
    return pods


def _no_attempt(job: Job, attempt: int) -> str:
    numbers = ", ".join(map(str, sorted(_pods(job))))
    had = f"its attempts are {numbers}" if numbers else "it has had none yet"
    raise RelayError(f"{job.key} has no attempt {attempt}; {had}", Exit.NOT_FOUND)


def _ending(job: Job, source: LogSource, now: datetime) -> list[str]:
    """Return sentences on how a pod ended, and on what is left of it."""
    ended = next((each for each in job.status.attempts if each.number == source.attempt), None)
    sentences = []
    if ended is not None:
        how = f"{ended.reason}: {ended.message}" if ended.message else ended.reason
        sentences.append(f"It ended {span(now - parse_time(ended.completion_time))} ago: {how.rstrip('.')}.")
    elif source.attempt is None and job.status.preparation is not None and job.status.preparation.message:
        sentences.append(f"Its last message: {job.status.preparation.message.rstrip('.')}.")
    if source.attempt is not None:
        sentences.append(f"What it has written is {results_at(job)}.")
    explain = f"`kubectl relay -n {job.key.namespace} explain {job.key.name}`"
    return [*sentences, f"{explain} has the job's history"]
