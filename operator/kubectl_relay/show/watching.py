"""A job that is followed: its steps, a bar of epochs, its metrics by epoch."""

from collections.abc import Callable, Mapping
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpu_relay.api.words import Phase
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import mib, parse_time
from gpu_relay.overview.jobs import expected_end, expected_start
from kubectl_relay.show.console import words
from kubectl_relay.views.progress import STEPS, curves, message, share, sparkline
from kubectl_relay.views.times import clock, span

_CURVE, _LEAST_CURVE = 48, 8
_BAR, _LEAST_BAR = 40, 10
_GAP = 2


class Panel:
    """What a live display shows; drawn several times a second, so that times advance between changes."""

    def __init__(self, job: Job, now: Callable[[], datetime]) -> None:
        self.job = job
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield panel(self.job, self._now(), options.max_width)


def panel(job: Job, now: datetime, width: int) -> RenderableType:
    """Draw a job as of a time, in so many columns."""
    parts: list[RenderableType] = [_title(job), _steps(job), *_bar(job, now, width)]
    by_epoch = curves(job)
    if by_epoch:
        parts.append(_curves(by_epoch, width))
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


def _bar(job: Job, now: datetime, width: int) -> list[RenderableType]:
    """Draw the bar before its texts, shorter where there is little room, and above them where there is less."""
    done, progress = share(job), job.status.progress
    if job.status.phase == Phase.QUEUED:
        return [_place(job, now)]
    if done is None or progress is None:
        return []
    eta = expected_end(job)
    end = f"ends at {clock(eta, now)}, in {span(eta - now)}" if eta else progress.stage
    began = f"for {span(now - parse_time(job.status.turn.since))}" if job.status.turn else ""
    head = words((f"epoch {progress.summary}" if progress.summary else "done", "bold"), f"  {done:.0%}")
    texts = Text("  ").join([head, *(words(text) for text in (began, end) if text)])
    room = width - texts.cell_len - _GAP
    table = Table.grid(padding=(0, _GAP, 0, 0))
    if room >= _LEAST_BAR:
        table.add_row(ProgressBar(total=1.0, completed=done, width=min(_BAR, room)), texts)
        return [table]
    table.add_row(ProgressBar(total=1.0, completed=done, width=min(_BAR, width)))
    return [table, texts]


def _place(job: Job, now: datetime) -> Text:
    place = f"number {job.status.queue_position} in the queue" if job.status.queue_position else "no place in the queue"
    start = expected_start(job)
    return words(place, f", should begin at {clock(start, now)}" if start else "")


def _curves(course: Mapping[str, list[float]], width: int) -> Table:
    """Draw the curves; where there is little room, they are shorter, and then without their least and their most."""
    rows = [(words((name, "cyan")), f"{values[-1]:g}", _range(values), values) for name, values in course.items()]
    names, newest, ranges = (max(cell_len(str(row[column])) for row in rows) for column in range(3))
    room = width - names - newest - 2 * _GAP
    with_ranges = room - ranges - _GAP >= _LEAST_CURVE
    cells = max(_LEAST_CURVE, min(_CURVE, room - (ranges + _GAP if with_ranges else 0)))
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(overflow="fold")
    for name, last, seen, values in rows:
        more = [words((seen, "dim"))] if with_ranges else []
        table.add_row(name, sparkline(values, cells), words((last, "bold")), *more)
    return table


def _range(values: list[float]) -> str:
    return f"{min(values):g} to {max(values):g}" if len(values) > 1 else ""
