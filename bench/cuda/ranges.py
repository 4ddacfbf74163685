"""What the figures of a run may be: rangespec.yaml."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.cuda.figures import Figure

SPEC = Path(__file__).with_name("rangespec.yaml")


@dataclass(frozen=True)
class Range:
    """The least and most that a figure may be, on these kinds of devices."""

    name: str
    unit: str
    devices: tuple[str, ...]
    min: float | None = None
    max: float | None = None

    def problem(self, figure: Figure) -> str | None:
        """Return a sentence if a figure has another unit or is beyond the range."""
        if figure.unit != self.unit:
            return f"{self.name}: measured in {figure.unit}, but the limit is in {self.unit}"
        if self.min is not None and not figure.value >= self.min:
            return f"{self.name}: {figure.value:g} {self.unit}, at least {self.min:g} required"
        if self.max is not None and not figure.value <= self.max:
            return f"{self.name}: {figure.value:g} {self.unit}, at most {self.max:g} allowed"
        return None


def read_ranges(path: Path = SPEC) -> list[Range]:
    """Read a file of ranges.

    Raises:
        ValueError: an entry has neither `min` nor `max`.

    """
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    ranges = [Range(**{**entry, "devices": tuple(entry["devices"])}) for entry in entries]
    for each in ranges:
        if each.min is None and each.max is None:
            raise ValueError(f"{path.name}: {each.name}: set min, max or both")
    return ranges


def beyond(ranges: Iterable[Range], figures: Sequence[Figure], kind: str) -> list[str]:
    """Return a sentence for each figure beyond its range on a kind of device.

    A figure that was not measured has no sentence here: its part is reported as failed or skipped.
    """
    measured = {figure.name: figure for figure in figures}
    applicable = (each for each in ranges if kind in each.devices and each.name in measured)
    return [problem for each in applicable if (problem := each.problem(measured[each.name]))]
