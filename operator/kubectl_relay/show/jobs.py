"""Jobs as a table, one line each; a terminal folds long names, a pipe never does."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table

from gpu_relay.domain.objects.represented import title
from gpu_relay.overview.jobs import JobLine
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.show.console import words
from kubectl_relay.show.gpus import show_unknown
from kubectl_relay.views.times import span

_STYLES = {"Succeeded": "green", "Failed": "bold red", "Training": "bold cyan", "Queued": "yellow"}
_UNBOUNDED = 10_000
"""Columns for a table that no terminal shows: programs that read it expect a line for each job."""


def show_jobs(console: Console, jobs: Sequence[JobLine], snapshot: ClusterSnapshot) -> None:
    """Print a line for each job, and what could not be read."""
    if jobs:
        width = console.width
        console.width = width if console.is_terminal else _UNBOUNDED
        console.print(_table(jobs, snapshot.now))
        console.width = width
    else:
        console.print("No job." if snapshot.everywhere else "No job in this namespace.")
    show_unknown(console, snapshot.unknown)


def _table(jobs: Sequence[JobLine], now: datetime) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("JOB", overflow="fold")
    table.add_column("PHASE", no_wrap=True)
    table.add_column("REASON", overflow="fold")
    for heading in ("POSITION", "EPOCH", "ETA", "AGE"):
        table.add_column(heading, no_wrap=heading != "ETA")
    for job in jobs:
        table.add_row(
            words((title(job.job, job.represents), "bold")),
            words((job.phase or "New", _STYLES.get(job.phase, ""))),
            words(job.reason or (job.message if job.job.is_workload else "")),
            words(str(job.position or "")),
            words(job.epoch),
            words(_eta(job, now)),
            words((span(now - job.created), "dim")),
        )
    return table


def _eta(job: JobLine, now: datetime) -> str:
    if job.ends is not None:
        return f"ends in {span(job.ends - now)}"
    if job.starts is not None:
        return f"starts in {span(job.starts - now)}"
    return f"ended {span(now - job.ended)} ago" if job.ended is not None else ""
