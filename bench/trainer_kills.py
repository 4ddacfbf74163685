"""Kill training runs at random moments, with SIGTERM or SIGKILL, until each has finished.

    python -m bench.trainer_kills --kills 100

A job is started again after every kill, as the operator would. It must never start over, and must end with the figures
and the weights of an uninterrupted run, bit for bit. Needs no GPU.

Each attempt is a process of its own that runs the whole trainer, forked from one that has done nothing but import
PyTorch and Ultralytics: that takes the trainer longer than the training that is killed here. `--cold` starts the
program itself each time; kills then come during imports, too.
"""

import argparse
import csv
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.trainer_datasets import make_dataset
from bench.trainer_process import Attempt, ColdAttempt, WarmAttempt, preload

EPOCHS = 8
ARGS = {
    "plots": False,
    "workers": 0,
    "warmup_epochs": 0,
    "nbs": 16,
    "close_mosaic": 3,
    "optimizer": "AdamW",
    "lr0": 0.002,
}
ENDED_BY_KILLS = (143, -signal.SIGTERM, -signal.SIGKILL)
MODEL = """\
nc: 1
end2end: true
reg_max: 1
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""
"""Five layers: a checkpoint's time goes by the number of modules, and there is one in each epoch."""


def job(folder: Path, name: str) -> dict[str, Any]:
    """Return a small job of eight epochs."""
    return {
        "job": {"namespace": "bench", "name": name, "uid": name},
        "model": str(folder / "tiny.yaml"),
        "dataset": {"path": str(folder / "data")},
        "training": {"epochs": EPOCHS, "imageSize": 32, "batch": 8, "args": ARGS},
        "output": {"path": str(folder / name)},
    }


def figures(output: Path) -> list[list[str]]:
    """Return results.csv without the times."""
    with (output / "results.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    return [[cell for name, cell in zip(header, row, strict=True) if name != "time"] for row in rows]


def weights(output: Path) -> dict[str, Any]:
    """Load a run's last weights."""
    import torch

    content: dict[str, Any] = torch.load(output / "weights" / "last.pt", weights_only=False)["model"].state_dict()
    return content


class Bench:
    """Runs jobs in a folder, and counts what became of them."""

    def __init__(self, folder: Path, kind: type[Attempt], seed: int) -> None:
        self._folder = folder
        self._kind = kind
        self._random = random.Random(seed)
        self._started = 0
        self._window = 0.0
        self.kills: Counter[str] = Counter()
        self.moments: Counter[str] = Counter()
        """Epochs that were finished when a kill came."""

    def start(self, name: str) -> Attempt:
        """Start an attempt at a job."""
        self._started += 1
        place = self._folder / "attempts" / str(self._started)
        place.mkdir(parents=True)
        (place / "job.json").write_text(json.dumps(job(self._folder, name)))
        return self._kind(place, self._folder)

    def run_uninterrupted(self, name: str) -> float:
        """Run a job to its end, and return its seconds. Later kills come within as many: some find it complete."""
        began = time.monotonic()
        self.survive(name, 0)
        self._window = time.monotonic() - began
        return self._window

    def survive(self, name: str, most_kills: int) -> int:
        """Kill a job again and again, at most so often, until it is complete, and return the kills."""
        kills = finished = 0
        while True:
            attempt = self.start(name)
            if kills < most_kills and self._kill(attempt):
                kills += 1
                self.moments[str(finished)] += 1
            code = attempt.wait()
            finished = self._check_start(attempt, name, finished)
            if code == 0:
                return kills
            if code not in ENDED_BY_KILLS:
                sys.exit(f"{name} ended with {code}:\n{attempt.log}")

    def _kill(self, attempt: Attempt) -> bool:
        """Kill an attempt at a random moment; False if it was complete by then."""
        deadline = time.monotonic() + self._random.uniform(0, self._window)
        number = self._random.choice([signal.SIGTERM, signal.SIGKILL])
        while attempt.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if attempt.poll() is not None:
            return False
        os.kill(attempt.pid, number)
        killed = attempt.wait() != 0
        self.kills[number.name] += killed
        return killed

    def _check_start(self, attempt: Attempt, name: str, finished: int) -> int:
        """Check that an attempt resumed where the last one was, and return how far it came."""
        log = attempt.log
        resumed = _number(r"Resuming from the checkpoint: (\d+) of", log) or 0
        began = _number(r"epochs (\d+) to", log)
        if (began is not None and resumed < finished) or began not in (None, resumed + 1):
            sys.exit(f"{name} began at epoch {began} after {finished} finished ones:\n{log}")
        done = max((number for number in range(1, EPOCHS + 1) if f"epoch {number}/{EPOCHS}" in log), default=0)
        return max(finished, resumed, done)


def _number(pattern: str, log: str) -> int | None:
    found = re.search(pattern, log)
    return int(found.group(1)) if found else None


def check(output: Path, expected: list[list[str]], tensors: Mapping[str, Any]) -> str | None:
    """Return in what a run differs from the uninterrupted one, or None."""
    import torch

    if figures(output) != expected:
        return "other figures"
    found = weights(output)
    return None if all(torch.equal(tensor, found[name]) for name, tensor in tensors.items()) else "other weights"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer_kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="kills in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="for the moments (default: another each time)")
    parser.add_argument(
        "--cold", action="store_true", help="start the program itself each time; takes five times longer"
    )
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_dataset("detect", folder / "data", train=24, val=8)
        (folder / "tiny.yaml").write_text(MODEL)
        if not options.cold:
            preload(folder)
        bench = Bench(folder, ColdAttempt if options.cold else WarmAttempt, options.seed)
        seconds = bench.run_uninterrupted("reference")
        print(f"seed {options.seed}; {EPOCHS} epochs take {seconds:.1f} s uninterrupted", flush=True)
        expected, tensors = figures(folder / "reference"), weights(folder / "reference")
        jobs = 0
        while bench.kills.total() < options.kills:
            jobs += 1
            kills = bench.survive(f"job-{jobs}", options.kills - bench.kills.total())
            difference = check(folder / f"job-{jobs}", expected, tensors)
            if difference:
                sys.exit(f"job {jobs} ended with {difference} than the uninterrupted one (seed {options.seed})")
            print(f"job {jobs}: {EPOCHS} of {EPOCHS} epochs after {kills} kills, as if never interrupted", flush=True)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(bench.kills.items()))
    moments = ", ".join(f"{epochs}: {count}" for epochs, count in sorted(bench.moments.items()))
    print(f"kills by the epochs that earlier attempts had finished: {moments}")
    print(
        f"{bench.kills.total()} kills ({kinds}), {jobs} jobs, seed {options.seed}, {time.monotonic() - began:.0f} s: "
        "all complete, none started over, bit for bit the same"
    )


if __name__ == "__main__":
    main()
