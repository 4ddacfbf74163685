"""The GPU's memory over time, measured while the demo plays and drawn as a plot (`memory.svg`)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import httpx

from demo.figures import clock, mib
from devcluster.background import Background

_EVERY_SECONDS = 0.5
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 960, 326, 90, 102, 24, 44
_LABELS_AT = (58, 74, 90)
"""The rows in which moments are named."""
_CHARACTER, _BESIDE, _APART = 6.8, 5, 8
"""Width of a character of a label, its distance from its line, and the least distance of two labels of a row."""
_MARKS = (10, 30, 60, 120, 300, 600)
"""Seconds between two marks of the time axis: the smallest that gives no more than ten."""
_STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .soft { fill: #59636e } .grid { stroke: #d0d7de }
    .moment { stroke: #1f2328; stroke-dasharray: 3 3 } .sam3 { fill: #2f6fdb } .yolo { fill: #b8620f }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #3d444d } .text { fill: #e6edf3 } .soft { fill: #9da7b1 } .grid { stroke: #3d444d }
      .moment { stroke: #e6edf3 } .sam3 { fill: #2f62c8 } .yolo { fill: #a85b10 }
    }
"""


@dataclass(frozen=True)
class Reading:
    """What was used at one moment."""

    seconds: float
    """Since the first reading."""
    used: int
    """MiB."""


@dataclass(frozen=True)
class Moment:
    """Something that happened."""

    seconds: float
    """Since the first reading."""
    label: str


class MemoryRecorder(Background):
    """Measures twice a second from `with` to its end; a measurement that fails is left out."""

    def __init__(self, measure: Callable[[], int]) -> None:
        """`measure` returns MiB in use; it may raise httpx.HTTPError."""
        super().__init__()
        self._measure = measure
        self._began = time.monotonic()
        self.readings: list[Reading] = []
        self.moments: list[Moment] = []

    def mark(self, label: str) -> None:
        """Record that something happens now."""
        self.moments.append(Moment(time.monotonic() - self._began, label))

    def _run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            with suppress(httpx.HTTPError):
                self.readings.append(Reading(time.monotonic() - self._began, self._measure()))


def plot(readings: Sequence[Reading], total: int, sam3: int, training: int, moments: Sequence[Moment] = ()) -> str:
    """Draw readings as SVG; `total` is the GPU's memory, `sam3` and `training` what each takes of it, in MiB.

    Marked are the `moments`, and when SAM3 was loaded and unloaded, as the readings show it.
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
    named = _named(_in_order(list(_loads(readings, training)), moments), x)
    return "\n  ".join([_head(total), *lines, *bars, *named, *marks]) + "\n</svg>\n"


def _loads(readings: Sequence[Reading], training: int) -> Iterator[Moment]:
    """Yield when SAM3's memory appeared and disappeared."""
    for before, now in pairwise(readings):
        if (before.used > training) != (now.used > training):
            yield Moment(now.seconds, "SAM3 loaded" if now.used > training else "SAM3 unloaded")


def _in_order(measured: Sequence[Moment], exact: Sequence[Moment]) -> list[Moment]:
    """Sort moments by the earliest time that each can have: a reading shows a change up to half a second late."""
    earliest = [
        *((each.seconds - _EVERY_SECONDS, each) for each in measured),
        *((each.seconds, each) for each in exact),
    ]
    return [moment for _, moment in sorted(earliest, key=lambda each: each[0])]


def _named(moments: Sequence[Moment], x: Callable[[float], float]) -> Iterator[str]:
    """Draw each moment as a line with its label beside it, in the first row with room; without room, the line alone."""
    ends = [0.0] * len(_LABELS_AT)
    for moment in moments:
        at, width = x(moment.seconds), _CHARACTER * len(moment.label)
        start = at + _BESIDE if at + _BESIDE + width <= _WIDTH - _RIGHT else at - _BESIDE - width
        row = next((row for row, end in enumerate(ends) if start >= end + _APART), None)
        top = _TOP if row is None else _LABELS_AT[row] - 10
        yield f'<path class="moment" d="M{at:.1f} {top}V{_HEIGHT - _BOTTOM}"/>'
        if row is not None:
            ends[row] = start + width
            edge, anchor = (start, "start") if start > at else (start + width, "end")
            label = f'<text class="text moment-label" x="{edge:.1f}" y="{_LABELS_AT[row]}"'
            yield f'{label} font-size="12" text-anchor="{anchor}">{moment.label}</text>'


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
