"""How far a job is, as one follows it: steps, share of epochs, curves of what was seen, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gpu_relay.api.words import ConditionType, Phase
from gpu_relay.domain.model import Job, JobKey
from kubectl_relay.exits import Exit

STEPS = (Phase.PREPARING, Phase.QUEUED, Phase.ACQUIRING, Phase.TRAINING, Phase.RELEASING, Phase.SUCCEEDED)
_BLOCKS = "▁▂▃▄▅▆▇█"
_ENDS = {Phase.SUCCEEDED: Exit.OK, Phase.FAILED: Exit.JOB_FAILED, Phase.SUSPENDED: Exit.JOB_SUSPENDED}
_MOST_POINTS = 4096


@dataclass(frozen=True)
class Point:
    """Metrics after an epoch of an attempt."""

    attempt: int
    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Followed:
    """A job, and what was seen of its metrics since somebody began to follow it."""

    job: Job
    points: tuple[Point, ...] = ()

    def then(self, job: Job) -> "Followed":
        """Return what is known when the job has become this."""
        return followed(job, self.points)

    def curve(self, metric: str) -> list[float]:
        """Return a metric's values, oldest first."""
        return [point.metrics[metric] for point in self.points if metric in point.metrics]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that were seen, in the trainer's order."""
        return list(dict.fromkeys(name for point in self.points for name in point.metrics))


def followed(job: Job, points: tuple[Point, ...] = ()) -> Followed:
    """Begin, or go on, to follow a job."""
    progress = job.status.progress
    if progress is None or not progress.metrics:
        return Followed(job, points)
    point = Point(job.status.attempt or 0, progress.epoch, progress.metrics)
    if points and (points[-1].attempt, points[-1].epoch) == (point.attempt, point.epoch):
        points = points[:-1]
    return Followed(job, (*points, point)[-_MOST_POINTS:])


def share(job: Job) -> float | None:
    """Return which part of the epochs is done, from 0 to 1; None before the training says."""
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
    """Return what the operator says of the job's state, empty where it says nothing."""
    known = {condition.type: condition for condition in job.status.conditions if condition.status == "True"}
    for kind in (ConditionType.FAILED, ConditionType.COMPLETE, ConditionType.SUSPENDED, ConditionType.RECONCILING):
        if kind in known:
            return f"{known[kind].reason}: {known[kind].message}"
    return ""


def line(job: Job) -> str:
    """Tell a job's state in one line, for a pipe."""
    progress = job.status.progress
    parts = [job.status.phase or "not looked at yet"]
    if progress is not None and job.status.phase in {Phase.TRAINING, Phase.RELEASING, Phase.SUCCEEDED}:
        parts.append(f"epoch {progress.summary}")
        parts += [f"{name} {value:g}" for name, value in progress.metrics.items()]
    return "  ".join(filter(None, (*parts, message(job))))


@dataclass(frozen=True)
class Seen:
    """A job's state for programs."""

    job: JobKey
    phase: str
    message: str
    queue_position: int | None
    epoch: int | None
    epochs: int | None
    metrics: dict[str, float]
    eta: str | None


def seen(job: Job) -> Seen:
    """Return a job's state for programs."""
    progress = job.status.progress
    return Seen(
        job=job.key,
        phase=job.status.phase or "",
        message=message(job),
        queue_position=job.status.queue_position,
        epoch=progress.epoch if progress else None,
        epochs=progress.epochs if progress else None,
        metrics=progress.metrics if progress else {},
        eta=progress.eta if progress else None,
    )
