"""Draw what runs have printed: `python -m bench.scale.plots RUN.json … --out docs/pictures/throughput.svg`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_WAYS = {"relay": "GPU Relay", "plain Jobs": "plain Jobs", "Jobs in Kueue": "Jobs in Kueue"}
"""The names of the ways in a run's output, and in the plot."""
_WIDTH, _MARGIN, _PANEL_GAP, _NAMES, _VALUES = 960, 24, 48, 104, 56
_TOP, _GROUP_TITLE, _ROW, _BAR = 64, 24, 30, 20
_STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .soft { fill: #59636e }
    .relay { fill: #2f6fdb } .other { fill: #8c959f }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #3d444d } .text { fill: #e6edf3 } .soft { fill: #9da7b1 }
      .relay { fill: #4c8dff } .other { fill: #6e7681 }
    }
"""


@dataclass(frozen=True)
class Panel:
    """One figure of all runs: its title, and for each run the values of the ways."""

    title: str
    groups: Sequence[tuple[str, dict[str, float]]]


def main() -> None:
    """Read the runs and write one plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.plots", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="outputs of `python -m bench.scale --compare`")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.write_text(plot([json.loads(path.read_text()) for path in options.runs]))


def plot(runs: Sequence[dict[str, Any]]) -> str:
    """Draw the runs as SVG, by the number of their GPUs. Its colours follow the reader's scheme, light or dark."""
    ordered = sorted(runs, key=lambda run: run["relay"]["gpus"])

    def panel(title: str, value: Any) -> Panel:
        groups = [(f"{run['relay']['gpus']} GPUs", {way: value(run[way]) for way in _WAYS}) for run in ordered]
        return Panel(title, groups)

    panels = (
        panel("jobs per second (more is better)", lambda each: each["jobs per second"]),
        panel(
            "idle GPU between two jobs, median seconds (less is better)",
            lambda each: each["idle between turns"].get("p50", 0.0),
        ),
    )
    height = _TOP + len(ordered) * (_GROUP_TITLE + len(_WAYS) * _ROW) + _MARGIN
    width = (_WIDTH - 2 * _MARGIN - _PANEL_GAP) / 2
    left, right = (_panel(each, _MARGIN + at * (width + _PANEL_GAP), width) for at, each in enumerate(panels))
    return "\n  ".join([_head(height), *left, *right]) + "\n</svg>\n"


def _panel(panel: Panel, x: float, width: float) -> Iterator[str]:
    """Yield a panel's elements: a bar for each way, its name before it and its value behind it."""
    most = max(value for _, values in panel.groups for value in values.values()) or 1.0
    yield f'<text class="text" x="{x:g}" y="36" font-weight="600">{escape(panel.title)}</text>'
    y = _TOP
    for group, values in panel.groups:
        yield f'<text class="soft" x="{x:g}" y="{y + 12}" font-size="12">{group}</text>'
        y += _GROUP_TITLE
        for way, value in values.items():
            length = (width - _NAMES - _VALUES) * value / most
            middle = y + _BAR / 2 + 4.5
            colour = "relay" if way == "relay" else "other"
            yield f'<text class="text" x="{x:g}" y="{middle:g}">{_WAYS[way]}</text>'
            yield (
                f'<rect class="{colour}" x="{x + _NAMES:g}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
                f'<text class="text" x="{x + _NAMES + length + 8:.1f}" y="{middle:g}">{value:.2f}</text>'
            )
            y += _ROW


def _head(height: int) -> str:
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" \
aria-label="Jobs per second, and the idle time of a GPU between two jobs" \
font-family="system-ui, sans-serif" font-size="13">
  <style>{_STYLE}  </style>
  <rect class="card" x="1" y="1" width="{_WIDTH - 2}" height="{height - 2}" rx="10"/>"""


if __name__ == "__main__":
    main()
