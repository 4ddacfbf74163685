"""The figures as a table for people and as JSON for machines."""

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 110


@dataclass
class Report:
    """Rows of what was measured, on which device, in order."""

    device: str
    model: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, value: str, against: str = "") -> None:
        """Add a row: what was measured, its value, and what to compare that with."""
        self.rows.append((what, value, against))

    def keep(self, name: str, figures: Any) -> None:
        """Keep a dataclass's figures, or a list of them, for the JSON."""
        self.figures[name] = [asdict(each) for each in figures] if isinstance(figures, list) else asdict(figures)

    def show(self) -> None:
        """Print the table."""
        table = Table(title=f"SAM3 server: {self.model} on {self.device}", title_justify="left")
        for heading in ("measured", "value", "against"):
            table.add_column(heading)
        for row in self.rows:
            table.add_row(*row)
        console = Console()
        console.width = max(console.width, WIDTH)
        console.print(table)

    def write(self, path: Path) -> None:
        """Write the JSON."""
        head = {
            "device": self.device,
            "model": self.model,
            "machine": platform.platform(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path.write_text(json.dumps(head | self.figures, indent=1) + "\n")
