"""A figure, and the lines by which a part's process passes its figures on."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured. A yes or no is 1 or 0."""

    name: str
    value: float
    unit: str
    note: str = ""

    @property
    def line(self) -> str:
        """The figure as one line of JSON."""
        return json.dumps(asdict(self))


def read_lines(lines: Iterable[str]) -> list[Figure]:
    """Return the figures among a process's lines; a line that is cut or is none is left out."""
    return [Figure(**json.loads(line)) for line in lines if line.startswith("{") and line.endswith("}\n")]
