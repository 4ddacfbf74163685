"""The usage of GPUs as a table, and as CSV."""

import csv
import io
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from gpu_relay.overview.usage import UsageLine, UsageReport
from kubectl_relay.show.console import words
from kubectl_relay.show.gpus import show_unknown
from kubectl_relay.views.times import span

_FIELDS = ("turn_seconds", "reload_seconds", "trained_seconds", "mib_hours", "turns", "refused", "cost")
_MIB = 1024


def show_usage(console: Console, report: UsageReport) -> None:
    """Print one row for each namespace, job, GPU or day."""
    if not report.lines:
        console.print(f"No GPU has had a turn since {report.begin}.")
        show_unknown(console, report.unknown)
        return
    priced = any(line.cost is not None for line in report.lines)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(report.by.upper())
    for heading in ("GPU TIME", "SHARE", "TRAINED", "GIB HOURS", "TURNS", "REFUSED", *(("COST",) if priced else ())):
        table.add_column(heading, justify="right")
    for line in report.lines:
        table.add_row(*map(words, _cells(line, report, priced=priced)))
    console.print(table)
    console.print(words((f"Since {report.begin} (UTC), of GPUs that have had a turn.", "dim")))
    show_unknown(console, report.unknown)


def _cells(line: UsageLine, report: UsageReport, *, priced: bool) -> list[str]:
    share = line.gpu_seconds / report.counted_seconds if report.counted_seconds else 0.0
    cells = [line.name, _time(line.gpu_seconds), f"{share:.0%}"]
    if line.is_resident:
        return [*cells, *[""] * (5 if priced else 4)]
    memory = f"{line.mib_hours / _MIB:,.1f}"
    more = [_time(line.trained_seconds), memory, str(line.turns), str(line.refused)]
    return [*cells, *more, *([f"{line.cost:,.2f}"] if priced and line.cost is not None else [])]


def _time(seconds: float) -> str:
    return span(timedelta(seconds=seconds))


def usage_as_csv(report: UsageReport) -> str:
    """Return the lines with a header; times in seconds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([report.by, *_FIELDS])
    for line in report.lines:
        values = (getattr(line, name) for name in _FIELDS)
        writer.writerow([line.name, *("" if value is None else value for value in values)])
    return stream.getvalue().rstrip("\n")
