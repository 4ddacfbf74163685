"""What the end of an attempt means for the job: each reason of docs/contracts.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from gpu_relay.api.v1alpha1 import Attempt, FurtherValidation, Results
from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, Phase, Reason
from gpu_relay.domain.job.attempt_history import refused_in_a_row
from gpu_relay.domain.job.deadlines import deadline, deadline_message
from gpu_relay.domain.job.pod_failures import killed_by
from gpu_relay.domain.job.stop_reasons import attempt_reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.untrusted import mapping, numbers, paths, text, texts, whole

_TRAINER_REASONS = frozenset(
    {
        Reason.COMPLETED, Reason.INTERRUPTED, Reason.OUT_OF_MEMORY, Reason.GPU_MEMORY_UNAVAILABLE,
        Reason.WRONG_GPU, Reason.DATASET_INVALID, Reason.CONFIG_INVALID, Reason.ERROR,
    }
)  # fmt: skip
_REFUSAL_REMEDY: Mapping[str, str] = MappingProxyType(
    {
        Reason.GPU_MEMORY_UNAVAILABLE: "End the other processes on the GPU, or lower spec.gpu.memory. ",
        Reason.WRONG_GPU: "Make the device plugin offer the resident's GPU to training pods (docs/install.md). ",
    }
)
OUTPUT_MOUNT = "/output"
"""Where the training pod sees the output volume."""

MESSAGE_LIMIT = 1024
_LONGEST_SPLIT = 32
_SIGTERM_EXIT = 143
_MOST_REFUSALS = 6
"""Attempts in a row whose pod refuses the GPU, or is refused by its node, after which a job fails."""


@dataclass(frozen=True)
class Verdict:
    """The phase of a job after its turn, with its reason."""

    phase: Phase
    reason: Reason
    message: str


def verdict(job: Job, now: datetime) -> Verdict:
    """Return the phase of a job after its turn, by its attempts; a turn without a pod leaves it in the queue."""
    last = job.status.attempts[-1] if job.status.attempts else None
    final = _final(job, last) if last is not None else None
    if final is not None:
        return final
    if job.spec.suspend:
        return Verdict(Phase.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true; set it to false to resume")
    ends = deadline(job)
    if ends is not None and ends <= now:
        return Verdict(Phase.FAILED, Reason.DEADLINE_EXCEEDED, deadline_message(job))
    if last is not None:
        return Verdict(
            Phase.QUEUED,
            Reason(last.reason),
            f"attempt {last.number} ended ({last.reason}: {last.message}); tries again",
        )
    return Verdict(Phase.QUEUED, Reason.WAITING_IN_QUEUE, "the turn ended before training began; waits for the next")


def _final(job: Job, last: Attempt) -> Verdict | None:
    """Return the terminal verdict after the last attempt; None if the job may be retried."""
    reason = Reason(last.reason)
    if reason == Reason.COMPLETED:
        return Verdict(Phase.SUCCEEDED, reason, last.message)
    if reason in FINAL_REASONS:
        return Verdict(Phase.FAILED, reason, last.message)
    failures, refusals = failed_attempts(job), refused_in_a_row(job.status.attempts)
    end = f"the last one: {last.reason}: {last.message}"
    if failures > job.spec.backoff_limit:
        message = f"{failures} attempts failed, backoffLimit is {job.spec.backoff_limit}; {end}"
        return Verdict(Phase.FAILED, Reason.BACKOFF_LIMIT_EXCEEDED, message)
    if refusals >= _MOST_REFUSALS:
        remedy = _REFUSAL_REMEDY.get(last.reason, "")
        message = f"{refusals} attempts in a row ended before training began; {end}. {remedy}Then create the job again"
        return Verdict(Phase.FAILED, Reason.BACKOFF_LIMIT_EXCEEDED, message)
    return None


def failed_attempts(job: Job) -> int:
    """Count the attempts that count against `spec.backoffLimit`."""
    return sum(
        attempt.reason not in COST_FREE_REASONS and attempt.reason != Reason.COMPLETED
        for attempt in job.status.attempts
    )


def next_batch(job: Job) -> int | Literal["auto"]:
    """Return the batch size of the next attempt: half of the smallest that ran out of memory, at least 1.

    An attempt that did not report its batch size (its node ended it) had what this function returns for the attempts
    before it. `auto` stays until an attempt reports what it chose.
    """
    batch = job.spec.training.batch
    for attempt in job.status.attempts:
        if attempt.reason != Reason.OUT_OF_MEMORY:
            continue
        failed = attempt.batch or _known(batch)
        if failed is not None:
            batch = max(1, failed // 2) if batch == "auto" else max(1, min(batch, failed) // 2)
    return batch


def attempt_of(job: Job, pod: TrainingPod, termination: Termination, now: datetime) -> Attempt:
    """Record how a training pod ended."""
    report = termination.last_word
    reason, message = end_of(job, pod, termination)
    return Attempt(
        number=job.next_attempt,
        pod=pod.name,
        fence=pod.fence,
        gpu=pod.gpu or None,
        reason=reason,
        message=message[:MESSAGE_LIMIT],
        exit_code=termination.exit_code,
        epoch=whole(report.get("epoch")) if job.spec.trains else None,
        batch=whole(report.get("batch")) or _known(next_batch(job)),
        start_time=termination.started,
        completion_time=_not_later(termination.finished, now),
    )


def _not_later(finished: str | None, now: datetime) -> str:
    """Return when a container ended, by its node's clock unless that is ahead: pauses count from it."""
    return timestamp(now if finished is None else min(now, parse_time(finished)))


def lost_attempt(job: Job, lease: GpuLease, now: datetime, reason: Reason, message: str) -> Attempt:
    """Record an attempt whose pod left no trace or never started."""
    return Attempt(
        number=job.next_attempt, pod=job.status.pod or "", fence=lease.fence, gpu=lease.gpu, reason=reason,
        message=message[:MESSAGE_LIMIT], batch=_known(next_batch(job)), completion_time=timestamp(now),
    )  # fmt: skip


def results_of(termination: Termination) -> Results | None:
    """Read what an attempt has published; None if it has not. What does not fit the types is dropped.

    An attempt that fails after training, in an export, has published weights, too.
    """
    report = termination.last_word
    if report.get("reason") != Reason.COMPLETED and not report.get("weights"):
        return None
    return Results(
        weights=paths(report.get("weights"), OUTPUT_MOUNT),
        metrics=numbers(report.get("metrics")),
        validation=_further(report.get("validation")),
        exports=paths(report.get("exports"), OUTPUT_MOUNT),
        export_errors=texts(report.get("exportErrors")),
        tracking=texts(report.get("tracking")),
        peak_memory=whole(report.get("peakMemoryMiB")),
    )


def _further(value: Any) -> FurtherValidation | None:
    """Read the metrics of a further split; None without them."""
    found = mapping(value)
    split = text(found.get("split"), _LONGEST_SPLIT)
    return FurtherValidation(split=split, metrics=numbers(found.get("metrics"))) if split else None


def end_of(job: Job, pod: TrainingPod, termination: Termination) -> tuple[Reason, str]:
    """Return why a pod ended: as the trainer reported, else as it was stopped, else as it was killed."""
    value, message = termination.last_word.get("reason"), _message(termination)
    reported = Reason(value) if isinstance(value, str) and value in _TRAINER_REASONS else None
    killed = killed_by(pod, termination)
    if reported not in {None, Reason.INTERRUPTED} and not (reported == Reason.ERROR and killed):
        return reported, message
    stopping = job.recorded_stop(pod.fence)
    if stopping is not None:
        return attempt_reason(stopping), f"stopped by the operator ({stopping}): {message}"
    if killed is not None:
        return killed
    if reported is not None or termination.exit_code == _SIGTERM_EXIT:
        return Reason.INTERRUPTED, message
    return Reason.ERROR, message


def _message(termination: Termination) -> str:
    message = termination.last_word.get("message")
    if isinstance(message, str) and message:
        return message
    code = "no exit code" if termination.exit_code is None else f"exit code {termination.exit_code}"
    return f"the container ended without a termination message: {termination.reason or 'unknown cause'}, {code}"


def _known(batch: int | Literal["auto"]) -> int | None:
    return None if batch == "auto" else batch
