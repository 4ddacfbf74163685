"""Turns as a chart over time, and as a table."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_relay.domain.objects.represented import title
from gpu_relay.overview.timeline import GpuTimeline, PastTurn, Timeline
from kubectl_relay.show.console import words
from kubectl_relay.show.gpus import show_unknown
from kubectl_relay.views.times import clock, span

_COLOURS = ("cyan", "yellow", "magenta", "blue", "red", "green")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARGIN = 2


def show_timeline(console: Console, timeline: Timeline) -> None:
    """Print one line of cells for each GPU, then its turns."""
    letters = _letters(timeline.gpus)
    for line in timeline.gpus:
        heading = line.gpu or "on a GPU that is not on record"
        console.print(words((heading, "bold"), f"  on {line.node}" if line.node else ""))
        if not line.turns:
            console.print("  no turn is on record")
            continue
        if line.gpu:
            _chart(console, line, timeline, letters)
        console.print(_table(line, timeline.now, letters))
    if not timeline.gpus:
        console.print("No turn is on record.")
    show_unknown(console, timeline.unknown)


def _letters(lines: Sequence[GpuTimeline]) -> dict[str, int]:
    """Number the jobs in the order of their first turns."""
    jobs = [turn.job.uid for line in lines for turn in line.turns]
    return {uid: number for number, uid in enumerate(dict.fromkeys(jobs))}


def _chart(console: Console, line: GpuTimeline, timeline: Timeline, letters: dict[str, int]) -> None:
    cells = max(10, console.width - 2 * _MARGIN)
    step = max(timeline.now - timeline.begin, timedelta(seconds=1)) / cells
    bar = Text(" " * _MARGIN)
    for cell in range(cells):
        bar.append(*_cell(line.turns, timeline.begin + cell * step, step, letters))
    console.print(bar)
    left, right = clock(timeline.begin, timeline.now), "now"
    console.print(words((f"{' ' * _MARGIN}{left}{' ' * max(1, cells - len(left) - len(right))}{right}", "dim")))


def _cell(turns: Sequence[PastTurn], at: datetime, step: timedelta, letters: dict[str, int]) -> tuple[str, str]:
    """Return the cell of a time and its style: a job's letter, a resident that is loading, a resident that serves."""
    until = at + step
    known = False
    for turn in turns:
        begin = turn.begin
        if begin is None or begin >= until:
            continue
        known = True
        if not turn.over if turn.end is None else turn.end > at:
            number = letters[turn.job.uid]
            return _LETTERS[number % len(_LETTERS)], f"bold reverse {_COLOURS[number % len(_COLOURS)]}"
        if turn.back is not None and turn.back > at:
            return "▒", "dim"
    return ("─", "green") if known else (" ", "")


def _table(line: GpuTimeline, now: datetime, letters: dict[str, int]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("", "JOB", "FROM", "TO", "TOOK", "ENDED", "RESIDENT BACK"):
        table.add_column(heading)
    for turn in line.turns:
        number = letters[turn.job.uid]
        letter = Text(f"  {_LETTERS[number % len(_LETTERS)]}", style=f"bold {_COLOURS[number % len(_COLOURS)]}")
        table.add_row(letter, *map(words, (title(turn.job, turn.represents), *_times(turn, now))))
    return table


def _times(turn: PastTurn, now: datetime) -> tuple[str, str, str, str, str]:
    begin = "?" if turn.begin is None else clock(turn.begin, now) + ("" if turn.begin_is_exact else " (pod)")
    end = clock(turn.end, now) if turn.end else _unknown_end(turn, now) if turn.over else "now"
    last = turn.end or (None if turn.over else now)
    took = span(last - turn.begin) if turn.begin and last else "?"
    return begin, end, took, turn.reason or ("?" if turn.over else ""), _back(turn)


def _unknown_end(turn: PastTurn, now: datetime) -> str:
    return f"by {clock(turn.ended_by, now)}" if turn.ended_by else "?"


def _back(turn: PastTurn) -> str:
    if turn.passed_on:
        return "after the next turn"
    if turn.back is not None and turn.end is not None:
        return f"after {span(turn.back - turn.end)}"
    return "?" if turn.over else ""
