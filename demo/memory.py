"""The GPU's memory over time, measured while the demo plays and drawn as a plot (`memory.svg`)."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from demo.figures import clock, mib
from devcluster.background import Background

_EVERY_SECONDS = 0.5
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 960, 280, 90, 56, 24, 44
_MARKS = (10, 30, 60, 120, 300, 600)
"""Seconds between two marks of the time axis: the smallest that gives no more than ten."""
_STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .soft { fill: #59636e } .grid { stroke: #d0d7de }
    .sam3 { fill: #2f6fdb } .yolo { fill: #b8620f }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #3d444d } .text { fill: #e6edf3 } .soft { fill: #9da7b1 } .grid { stroke: #3d444d }
      .sam3 { fill: #2f62c8 } .yolo { fill: #a85b10 }
    }
"""


@dataclass(frozen=True)
class Reading:
    """What was used at one moment."""

    seconds: float
    """Since the first reading."""
    used: int
    """MiB."""


class MemoryRecorder(Background):
    """Measures twice a second from `with` to its end; a measurement that fails is left out."""

    def __init__(self, measure: Callable[[], int]) -> None:
        """`measure` returns MiB in use; it may raise httpx.HTTPError."""
        super().__init__()
        self._measure = measure
        self.readings: list[Reading] = []

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(_EVERY_SECONDS):
            with suppress(httpx.HTTPError):
                self.readings.append(Reading(time.monotonic() - began, self._measure()))


def plot(readings: Sequence[Reading], total: int, sam3: int, training: int) -> str:
    """Draw readings as SVG; `total` is the GPU's memory, `sam3` and `training` what each takes of it, in MiB.

    Raises ValueError for fewer than two readings.
    """
    if len(readings) < 2:
        raise ValueError("a plot of memory over time needs at least two readings")
    first, last = readings[0].seconds, readings[-1].seconds

    def x(seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (seconds - first) / (last - first)

    def y(used: int) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * used / total

    bars = [
        f'<rect class="{"sam3" if start.used > training else "yolo"}" x="{x(start.seconds):.1f}"'
        f' y="{y(start.used):.1f}" width="{x(end) - x(start.seconds) + 0.4:.1f}" height="{y(0) - y(start.used):.1f}"/>'
        for start, end in _runs(readings)
        if start.used
    ]
    lines = [
        f'<path class="grid" d="M{_LEFT} {y(level):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="soft" x="{_LEFT - 8}" y="{y(level) + 4:.1f}" text-anchor="end">{mib(level)}</text>'
        for level in (0, training, sam3, total)
    ]
    every = next((step for step in _MARKS if (last - first) / step <= 10), _MARKS[-1])
    marks = [
        f'<text class="soft" x="{x(first + at):.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{clock(at)}</text>'
        for at in range(0, int(last - first) + 1, every)
    ]
    return "\n  ".join([_head(total), *lines, *bars, *marks]) + "\n</svg>\n"


def _runs(readings: Sequence[Reading]) -> list[tuple[Reading, float]]:
    """Join readings of the same figure; return the first of each run, and when the next one begins."""
    starts = [
        now for before, now in zip([None, *readings], readings, strict=False) if not before or before.used != now.used
    ]
    ends = [*(start.seconds for start in starts[1:]), readings[-1].seconds]
    return list(zip(starts, ends, strict=True))


def _head(total: int) -> str:
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" \
aria-label="Memory in use of the GPU over time" font-family="system-ui, sans-serif" font-size="13">
  <style>{_STYLE}  </style>
  <rect class="card" x="1" y="1" width="{_WIDTH - 2}" height="{_HEIGHT - 2}" rx="10"/>
  <text class="text" x="{_LEFT}" y="32" font-weight="600">GPU memory in use, MiB of {mib(total)}</text>
  <rect class="sam3" x="{_WIDTH - 250}" y="21" width="12" height="12" rx="2"/>
  <text class="text" x="{_WIDTH - 232}" y="32">SAM3</text>
  <rect class="yolo" x="{_WIDTH - 170}" y="21" width="12" height="12" rx="2"/>
  <text class="text" x="{_WIDTH - 152}" y="32">YOLO training</text>"""
