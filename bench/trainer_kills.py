"""Kills trainings at random moments, with SIGTERM or SIGKILL, until each has finished all the same.

    python -m bench.trainer_kills --kills 100

A job is started again after every kill, as the operator would. It must never start over, and must end with the figures
and the weights of a training that nobody interrupted, bit for bit. Needs no GPU; a kill costs some 10 s, nearly all of
it to import libraries.
"""

import argparse
import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.yolo_attempts import Attempt
from tests.faults.yolo_datasets import make_dataset

EPOCHS = 8
SHARE = 0.7
"""Of an uninterrupted training's time: later than that a job that was resumed has ended."""
ARGS = {
    "plots": False,
    "workers": 0,
    "warmup_epochs": 0,
    "nbs": 16,
    "close_mosaic": 3,
    "optimizer": "AdamW",
    "lr0": 0.002,
}


def job(folder: Path, name: str) -> dict[str, Any]:
    """Return a small job of eight epochs."""
    return {
        "job": {"namespace": "bench", "name": name, "uid": name},
        "model": "yolo26n.yaml",
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

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._started = 0
        self._window = 0.0
        self.kills: Counter[str] = Counter()

    def start(self, name: str) -> Attempt:
        """Start an attempt at a job."""
        self._started += 1
        place = self._folder / f"attempt-{self._started}"
        settings = {"TMPDIR": str(self._folder), "MPLCONFIGDIR": str(self._folder / "matplotlib")}
        return Attempt(place, job(self._folder, name), **settings)

    def run_uninterrupted(self, name: str) -> None:
        """Run a job to its end; later kills come within most of the time that it took, from the first import on."""
        began = time.monotonic()
        self.survive(name, 0)
        self._window = SHARE * (time.monotonic() - began)

    def survive(self, name: str, most_kills: int) -> int:
        """Kill a job again and again, at most so often, until it is complete, and return the kills."""
        kills = finished = 0
        while True:
            attempt = self.start(name)
            if kills < most_kills:
                deadline = time.monotonic() + self._random.uniform(0, self._window)
                while attempt.process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
            if attempt.process.poll() is None and kills < most_kills:
                number = self._random.choice([signal.SIGTERM, signal.SIGKILL])
                attempt.process.send_signal(number)
                attempt.process.wait()
                if attempt.process.returncode != 0:
                    kills += 1
                    self.kills[number.name] += 1
            code = attempt.process.wait()
            finished = self._check_start(attempt, name, finished)
            if code == 0:
                return kills
            if code not in (143, -signal.SIGTERM, -signal.SIGKILL):
                sys.exit(f"{name} ended with {code}:\n{attempt.log}")

    def _check_start(self, attempt: Attempt, name: str, finished: int) -> int:
        """See that an attempt went on from where the last one was, and return how far it came."""
        log = attempt.log
        resumed = int(log.partition("Resuming from the checkpoint: ")[2].partition(" ")[0] or 0)
        if "epochs 1 to" in log and finished > 0:
            sys.exit(f"{name} started over after {finished} epochs:\n{log}")
        done = max((number for number in range(1, EPOCHS + 1) if f"epoch {number}/{EPOCHS}" in log), default=0)
        return max(finished, resumed, done - 1)  # a kill may come between the line and the checkpoint


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer_kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="kills in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="for the moments (default: another each time)")
    options = parser.parse_args()
    import torch

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_dataset("detect", folder / "data", train=24, val=8)
        bench = Bench(folder, options.seed)
        bench.run_uninterrupted("reference")
        expected, tensors = figures(folder / "reference"), weights(folder / "reference")
        jobs = 0
        while bench.kills.total() < options.kills:
            jobs += 1
            kills = bench.survive(f"job-{jobs}", options.kills - bench.kills.total())
            output = folder / f"job-{jobs}"
            if figures(output) != expected:
                sys.exit(f"job {jobs} ended with other figures than the uninterrupted training (seed {options.seed})")
            found = weights(output)
            if not all(torch.equal(tensor, found[name]) for name, tensor in tensors.items()):
                sys.exit(f"job {jobs} ended with other weights than the uninterrupted training (seed {options.seed})")
            print(f"job {jobs}: {EPOCHS} of {EPOCHS} epochs after {kills} kills, as if never interrupted", flush=True)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(bench.kills.items()))
    print(f"{bench.kills.total()} kills ({kinds}), {jobs} jobs: all complete, none started over, bit for bit the same")


if __name__ == "__main__":
    main()
