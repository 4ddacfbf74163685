"""How the figures grow with the queue and with the GPUs: `python -m bench.scale.growth --out growth.json`.

Each run is a process, a control plane and an operator of its own; half-way the operator is killed and started again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
_COLUMNS: dict[str, Callable[[Figures], object]] = {
    "jobs queued": lambda run: f"{run['jobs']:,}",
    "GPUs": lambda run: run["gpus"],
    "jobs per second": lambda run: f"{run['jobs per second']:.2f}",
    "idle GPU, median": lambda run: _seconds(run["idle between turns"].get("p50")),
    "99th percentile": lambda run: _seconds(run["idle between turns"].get("p99")),
    "API calls per job": lambda run: f"{run['API calls per job']:.0f}",
    "writes per job": lambda run: f"{run['API writes per job']:.1f}",
    "CPU per job": lambda run: _seconds(run["operator CPU per job"]),
    "memory": lambda run: f"{run['operator memory MiB']} MiB",
    "next pod after a restart": lambda run: _seconds(run["recovery seconds"]),
}


def main() -> None:
    """Make the runs one after the other, and print a row of a Markdown table for each as it ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.growth", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--window", type=float, default=60, help="longest time to measure each for, in seconds")
    parser.add_argument("--out", type=Path, required=True, help="file for all figures, as JSON")
    options = parser.parse_args()
    print(_line(_COLUMNS), _line("---" for _ in _COLUMNS), sep="\n", flush=True)
    runs = []
    for jobs, gpus in product(options.jobs, options.gpus):
        run = _run(jobs, gpus, options.window)
        runs.append(run)
        print(_line(column(run) for column in _COLUMNS.values()), flush=True)
    options.out.write_text(json.dumps(runs, indent=1))


def _run(jobs: int, gpus: int, window: float) -> Figures:
    command = [sys.executable, "-m", "bench.scale", "--restart"]
    sizes = ["--jobs", str(jobs), "--gpus", str(gpus), "--window", str(window)]
    ended = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, text=True)
    if not ended.stdout:
        sys.exit(f"the run of {jobs} jobs on {gpus} GPUs printed no figures (status {ended.returncode})")
    figures: Figures = json.loads(ended.stdout)["relay"]
    return figures


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


if __name__ == "__main__":
    main()
