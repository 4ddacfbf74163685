"""One run of the benchmark: `python -m bench.scale --jobs 1000 --gpus 10`."""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.scale import others
from bench.scale.limits import broken, summary
from bench.scale.others import Way
from bench.scale.relay import Plan, leading_operator, run
from bench.scale.stage import Stage, open_stage

_SAMPLE_GAPS = 2
"""Pauses between the three samples, which an init container makes as well."""
_INIT_CONTAINER = 0.6
"""Seconds for its start and its end on a real kubelet, beside its work: `python -m bench.scale.init_container`."""


def main() -> None:
    """Run what the command line says, and print the figures as JSON; status 1 where one is beyond its limit."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plan = Plan(options.jobs, options.window, options.sample_interval, options.restart, options.failover)
    init = _SAMPLE_GAPS * options.sample_interval + _INIT_CONTAINER
    with tempfile.TemporaryDirectory(prefix="gpu-relay-bench-") as folder:
        try:
            with open_stage(
                options.gpus, options.seconds, Path(folder), init_seconds=init, kueue=options.compare
            ) as stage:
                shown = _figures(stage, plan, Path(folder), compare=options.compare)
        finally:
            if options.logs:
                shutil.copy(Path(folder) / "operator.log", options.logs)
        wrong = broken(shown["relay"])
        kept = _keep(Path(folder) / "operator.log") if wrong and not options.logs else options.logs
    print(json.dumps(shown, indent=1))
    sys.exit(f"beyond bench/scale/rangespec.yaml: {'; '.join(wrong)}; the operator's log: {kept}" if wrong else 0)


def _keep(log: Path) -> Path:
    """Copy a log to where it outlives the run: what is rare cannot be explained without it."""
    descriptor, kept = tempfile.mkstemp(prefix="gpu-relay-bench-", suffix=".log")
    os.close(descriptor)
    return Path(shutil.copy(log, kept))


def _figures(stage: Stage, plan: Plan, folder: Path, *, compare: bool) -> dict[str, Any]:
    figures = {"relay": run(stage, plan, folder)}
    if compare:
        figures["plain Jobs"] = others.run(stage, plan.jobs, plan.window, Way.PLAIN)
        figures["Jobs in Kueue"] = others.run(stage, plan.jobs, plan.window, Way.KUEUE)
        others.create_check(stage)
        with leading_operator(stage, plan, folder):
            figures["Jobs in Kueue with the check"] = others.run(stage, plan.jobs, plan.window, Way.CHECK)
    return {
        way: {name: summary(value) if isinstance(value, list) else value for name, value in each.items()}
        for way, each in figures.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a training takes (default: %(default)s)")
    parser.add_argument("--window", type=float, default=600, help="longest time to measure for, in seconds")
    parser.add_argument("--sample-interval", type=float, default=0.1, help="as GPU_RELAY_SAMPLE_INTERVAL")
    parser.add_argument("--restart", action="store_true", help="kill the operator in the middle, and start it again")
    parser.add_argument(
        "--failover", action="store_true", help="kill the leader of two replicas in the middle, and end"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="run the same jobs as plain Jobs, as Jobs in Kueue, and with its check, too",
    )
    parser.add_argument("--logs", type=Path, help="file for the operator's log")
    return parser


if __name__ == "__main__":
    main()
