"""A job that is followed: its steps, a bar of epochs, its metrics by epoch."""

from collections.abc import Callable, Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import mib, parse_time
from kubectl_relay.show.console import words
from kubectl_relay.views.progress import STEPS, curves, message, share, sparkline
from kubectl_relay.views.times import clock, span

_CURVE = 48
_BAR = 40


class Panel:
    """What a live display shows; drawn several times a second, so that times advance between changes."""

    def __init__(self, job: Job, now: Callable[[], datetime]) -> None:
        self.job = job
        self._now = now

    def __rich__(self) -> RenderableType:
        return panel(self.job, self._now())


def panel(job: Job, now: datetime) -> RenderableType:
    """Draw a job as of a time."""
    parts: list[RenderableType] = [_title(job), _steps(job), *_bar(job, now)]
    by_epoch = curves(job)
    if by_epoch:
        parts.append(_curves(by_epoch))
    parts.append(words((message(job), "dim")))
    return Group(*parts)


def _title(job: Job) -> Text:
    gpu, spec = job.status.gpu, job.spec
    what = f"{spec.training.epochs} epochs" if spec.trains else f"mode {spec.mode}"
    parts: list[tuple[str, str] | str] = [(str(job.key), "bold"), f"  {spec.model}, {what}"]
    if gpu is not None and gpu.node and job.status.turn is not None:
        parts.append(f"  on {gpu.name or 'the GPU'} of {gpu.node}")
        if gpu.free_after is not None:
            parts.append(f", {mib(gpu.free_after)} measured free, {mib(job.need_mib)} granted")
    if job.status.attempt and job.status.attempt > 1:
        parts.append((f"  attempt {job.status.attempt}", "yellow"))
    return words(*parts)


def _steps(job: Job) -> Text:
    """Draw the way of a job, with the step that it is in."""
    phase = Phase(job.status.phase) if job.status.phase else None
    if phase in {Phase.FAILED, Phase.SUSPENDED}:
        return words((str(phase), "bold red" if phase == Phase.FAILED else "bold yellow"))
    here = STEPS.index(phase) if phase in STEPS else -1
    parts: list[tuple[str, str] | str] = []
    for number, step in enumerate(STEPS):
        last = phase == Phase.SUCCEEDED
        style = "green" if number < here or last else "bold reverse cyan" if number == here else "dim"
        parts += [(f" {step} " if number == here and not last else str(step), style), (" → ", "dim")]
    return words(*parts[:-1])


def _bar(job: Job, now: datetime) -> list[RenderableType]:
    done, progress = share(job), job.status.progress
    if job.status.phase == Phase.QUEUED:
        return [_place(job, now)]
    if done is None or progress is None:
        return []
    row = Table.grid(padding=(0, 2, 0, 0))
    eta = parse_time(progress.eta) if progress.eta and job.status.phase == Phase.TRAINING else None
    end = f"ends at {clock(eta, now)}, in {span(eta - now)}" if eta else progress.stage
    began = f"for {span(now - parse_time(job.status.turn.since))}" if job.status.turn else ""
    bar = ProgressBar(total=1.0, completed=done, width=_BAR)
    row.add_row(
        bar,
        words((f"epoch {progress.summary}" if progress.summary else "done", "bold"), f"  {done:.0%}"),
        began,
        words(end),
    )
    return [row]


def _place(job: Job, now: datetime) -> Text:
    place = f"number {job.status.queue_position} in the queue" if job.status.queue_position else "no place in the queue"
    start = job.status.estimated_start_time
    return words(place, f", should begin at {clock(parse_time(start), now)}" if start else "")


def _curves(course: Mapping[str, list[float]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, values in course.items():
        seen = f"{min(values):g} to {max(values):g}" if len(values) > 1 else ""
        newest = words((f"{values[-1]:g}", "bold"))
        table.add_row(words((name, "cyan")), sparkline(values, _CURVE), newest, words((seen, "dim")))
    return table
