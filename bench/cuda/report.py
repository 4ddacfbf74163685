"""The outcomes of a run as a table for people and as JSON for machines."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.cuda.runner import Outcome, State

WIDTH = 130


def show(device: str, outcomes: Sequence[Outcome], wrong: Sequence[str]) -> None:
    """Print the table, then each part without all its figures, and each figure beyond its range."""
    table = Table(title=f"GPU Relay on {device}", title_justify="left")
    for heading in ("part", "measured", "value", "unit", "note"):
        table.add_column(heading)
    for outcome in outcomes:
        for figure in outcome.figures:
            row = (outcome.part, figure.name, f"{figure.value:.4g}", figure.unit, figure.note)
            table.add_row(*map(escape, row))
        table.add_section()
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    for outcome in outcomes:
        if outcome.state != State.MEASURED:
            console.print(f"{outcome.part} {outcome.state}: {outcome.error}", markup=False)
    for problem in wrong:
        console.print(f"out of range: {problem}", markup=False)


def write(path: Path, device: str, kind: str, outcomes: Sequence[Outcome], wrong: Sequence[str]) -> None:
    """Write the JSON."""
    content = {
        "device": device,
        "kind": kind,
        "machine": platform.platform(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": [asdict(outcome) for outcome in outcomes],
        "beyond": list(wrong),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
