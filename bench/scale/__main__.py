"""One run of the benchmark: `python -m bench.scale --jobs 1000 --gpus 10`."""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.scale.relay import Plan, run
from bench.scale.stage import open_stage

_LISTS = ("idle between turns", "first pod after apply")


def main() -> None:
    """Run what the command line says, and print the figures as JSON."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plan = Plan(options.jobs, options.window, options.sample_interval, options.restart)
    with tempfile.TemporaryDirectory(prefix="gpu-relay-bench-") as folder:
        try:
            with open_stage(options.gpus, options.seconds, Path(folder)) as stage:
                figures = run(stage, plan, Path(folder))
        finally:
            if options.logs:
                options.logs.write_text((Path(folder) / "operator.log").read_text())
    shown = {name: _summary(value) if name in _LISTS else value for name, value in figures.items()}
    print(json.dumps(shown, indent=1))


def _summary(values: list[float]) -> dict[str, Any]:
    if len(values) < 2:
        return {"of": len(values)}
    cuts = quantiles(values, n=100)
    return {"of": len(values), "p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": max(values)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a training takes (default: %(default)s)")
    parser.add_argument("--window", type=float, default=600, help="longest time to measure for, in seconds")
    parser.add_argument("--sample-interval", type=float, default=0.5, help="as GPU_RELAY_SAMPLE_INTERVAL")
    parser.add_argument("--restart", action="store_true", help="kill the operator in the middle, and start it anew")
    parser.add_argument("--logs", type=Path, help="file for the operator's log")
    return parser


if __name__ == "__main__":
    main()
