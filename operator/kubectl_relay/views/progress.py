"""The progress of a job that is followed: steps, share of epochs, metrics by epoch, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gpu_relay.api.words import Phase
from gpu_relay.domain.job.metrics_curve import Point, points
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.overview.jobs import explaining_condition
from kubectl_relay.exits import Exit

STEPS = (Phase.PREPARING, Phase.QUEUED, Phase.ACQUIRING, Phase.TRAINING, Phase.RELEASING, Phase.SUCCEEDED)
_BLOCKS = "▁▂▃▄▅▆▇█"
_ENDS = {Phase.SUCCEEDED: Exit.OK, Phase.FAILED: Exit.JOB_FAILED, Phase.SUSPENDED: Exit.JOB_SUSPENDED}


def curves(job: Job) -> dict[str, list[float]]:
    """Return the course of each metric, then of each loss, from the first epoch on that is on record."""
    progress, course = job.status.progress, points(job.status.curve)
    if (
        progress is not None
        and progress.epochs
        and progress.metrics
        and all(point.epoch < progress.epoch for point in course)
    ):
        course.append(Point(progress.epoch, progress.metrics))
    found: dict[str, list[float]] = {}
    for each in ([point.metrics for point in course], [point.losses for point in course]):
        for figures in each:
            for name, value in figures.items():
                found.setdefault(name, []).append(value)
    return found


def share(job: Job) -> float | None:
    """Return the finished share of the epochs, from 0 to 1; None before the trainer reports it."""
    progress = job.status.progress
    if job.status.phase == Phase.SUCCEEDED:
        return 1.0
    return min(1.0, progress.epoch / progress.epochs) if progress is not None and progress.epochs else None


def ending(job: Job) -> Exit | None:
    """Return with which exit code it ends to follow a job; None while there is something to follow."""
    if job.status.phase == Phase.SUSPENDED and not job.spec.suspend:
        return None  # resumed, and not yet seen by the operator
    return _ENDS.get(Phase(job.status.phase)) if job.status.phase else None


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values as blocks between their least and their most, newest last, in at most so many cells."""
    if not values or width < 1:
        return ""
    cells = min(width, len(values))
    edges = [round(cell * len(values) / cells) for cell in range(cells + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return _BLOCKS[3] * cells
    return "".join(_BLOCKS[min(7, int((value - low) / (high - low) * 8))] for value in means)


def message(job: Job) -> str:
    """Return the message of the condition that explains the job's state; empty where there is none."""
    condition = explaining_condition(job.status)
    return f"{condition.reason}: {condition.message}" if condition else ""


def line(job: Job) -> str:
    """Return a job's state as one line, for a pipe."""
    progress = job.status.progress
    parts = [job.status.phase or "not reconciled yet"]
    if progress is not None and job.status.phase in {Phase.TRAINING, Phase.RELEASING, Phase.SUCCEEDED}:
        parts.append(f"epoch {progress.summary}" if progress.summary else progress.stage)
        parts += [f"{name} {value:g}" for name, value in progress.metrics.items()]
    return "  ".join(filter(None, (*parts, message(job))))


@dataclass(frozen=True)
class JobProgress:
    """A job's state for programs."""

    job: JobKey
    phase: str
    message: str
    queue_position: int | None
    epoch: int | None
    epochs: int | None
    metrics: dict[str, float]
    eta: str | None


def progress_of(job: Job) -> JobProgress:
    """Return a job's state for programs."""
    progress = job.status.progress
    return JobProgress(
        job=job.key,
        phase=job.status.phase or "",
        message=message(job),
        queue_position=job.status.queue_position,
        epoch=progress.epoch if progress else None,
        epochs=progress.epochs if progress else None,
        metrics=progress.metrics if progress else {},
        eta=progress.eta if progress else None,
    )
