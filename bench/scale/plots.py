"""Draw what runs have printed: `python -m bench.scale.plots RUN.json … --out docs/pictures/throughput.svg`."""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_WIDTH = 0.25
_WAYS = ("relay", "plain Jobs", "Jobs in Kueue")


def main() -> None:
    """Read the runs and write one plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.plots", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="outputs of `python -m bench.scale --compare`")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = sorted((json.loads(path.read_text()) for path in options.runs), key=lambda run: run["relay"]["gpus"])
    plt.rcParams["svg.hashsalt"] = "gpu-relay"  # the same plot is the same file
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    _bars(left, runs, "jobs per second", lambda each: each["jobs per second"])
    _bars(right, runs, "idle between turns, s (median)", lambda each: each["idle between turns"].get("p50", 0.0))
    left.legend()
    figure.savefig(options.out, metadata={"Date": None})


def _bars(axes: Axes, runs: list[dict[str, Any]], title: str, value: Any) -> None:
    for number, way in enumerate(_WAYS):
        places = [index + (number - 1) * _WIDTH for index in range(len(runs))]
        drawn = axes.bar(places, [value(run[way]) for run in runs], _WIDTH, label=way)
        axes.bar_label(drawn, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(runs)), [f"{run['relay']['gpus']} GPUs" for run in runs])
    axes.set_title(title)


if __name__ == "__main__":
    main()
