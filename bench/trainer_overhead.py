"""What the trainer costs beside plain Ultralytics: the same training by `yolo train` and by `yolo-trainer run`.

    python -m bench.trainer_overhead --pairs 3

Both train the same images with the same arguments and seed, and must end with the same figures, digit for digit. Wall
time means little on a shared machine: CPU time stands beside it, and pairs begin with the one and the other in
turn. An epoch is what lies between two lines of results.csv: training, validation and checkpoint.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench.trainer_kills import figures
from bench.trainer_process import settings
from demo.digits import make_digits

ARGS: dict[str, Any] = {
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "nbs": 16,
    "mosaic": 0.0,
    "fliplr": 0.0,
    "workers": 0,
}
MODEL = "yolo26n.yaml"
BATCH = 16
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Moment:
    """Seconds since a process began: on the clock, and on the CPU."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Run:
    """How long a training took, and its epochs."""

    total: Moment
    epochs: list[Moment]

    @property
    def besides(self) -> Moment:
        """What is not in a whole epoch: start, the first epoch, final validation, and what comes after."""
        return Moment(
            self.total.wall - sum(epoch.wall for epoch in self.epochs),
            self.total.cpu - sum(epoch.cpu for epoch in self.epochs),
        )


def watched(command: list[str], environment: dict[str, str], results: Path, log: Path) -> Run:
    """Run a training to its end, and time it by the lines of its results.csv. Exits where it fails."""
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
    lines: list[Moment] = []
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        if results.exists() and results.read_bytes().count(b"\n") > len(lines) + 1:
            lines.append(Moment(time.monotonic() - began, _cpu_seconds(process.pid)))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()}")
    total = Moment(time.monotonic() - began, usage.ru_utime + usage.ru_stime)
    pairs = pairwise(lines)
    return Run(total, [Moment(later.wall - one.wall, later.cpu - one.cpu) for one, later in pairs])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def plain(folder: Path, place: Path, epochs: int, image_size: int) -> tuple[Run, Path]:
    """Train with Ultralytics' own command line; return the times and the folder of results."""
    arguments = {
        **ARGS, "model": MODEL, "data": folder / "absolute.yaml", "epochs": epochs, "imgsz": image_size, "batch": BATCH,
        "device": "cpu", "project": place, "name": "run",
    }  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("yolo")), "detect", "train",
        *(f"{name}={value}" for name, value in arguments.items()),
    ]  # fmt: skip
    environment = {"YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(folder), "MPLCONFIGDIR": str(folder / "matplotlib")}
    output = place / "run"
    return watched(command, environment, output / "results.csv", place / "log"), output


def ours(folder: Path, place: Path, epochs: int, image_size: int) -> tuple[Run, Path]:
    """Train with the trainer; return the times and the folder of results."""
    job = {
        "job": {"namespace": "bench", "name": "digits", "uid": place.name},
        "model": MODEL,
        "dataset": {"path": str(folder / "data")},
        "training": {"epochs": epochs, "imageSize": image_size, "batch": BATCH, "args": ARGS},
        "output": {"path": str(place / "run")},
    }
    (place / "job.json").write_text(json.dumps(job))
    output = place / "run"
    command = [sys.executable, "-m", "yolo_trainer", "run"]
    return watched(command, settings(place, folder), output / "work" / "results.csv", place / "log"), output


def show(name: str, theirs: float, mine: float) -> None:
    """Print one row of the table."""
    print(f"| {name} | {theirs:.2f} | {mine:.2f} | {100 * (mine / theirs - 1):+.1f} % |", flush=True)


def report(theirs: list[Run], mine: list[Run]) -> None:
    """Print medians over all runs."""

    def epochs(runs: list[Run]) -> list[Moment]:
        return [epoch for run in runs for epoch in run.epochs]

    print("| seconds, medians | yolo train | yolo-trainer | |\n| --- | --- | --- | --- |")
    show("an epoch, CPU", *(median(epoch.cpu for epoch in epochs(runs)) for runs in (theirs, mine)))
    show("an epoch, wall", *(median(epoch.wall for epoch in epochs(runs)) for runs in (theirs, mine)))
    show("besides, CPU", *(median(run.besides.cpu for run in runs) for runs in (theirs, mine)))
    show("besides, wall", *(median(run.besides.wall for run in runs) for runs in (theirs, mine)))
    show("in all, CPU", *(median(run.total.cpu for run in runs) for runs in (theirs, mine)))
    show("in all, wall", *(median(run.total.wall for run in runs) for runs in (theirs, mine)))


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer_overhead", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3, help="runs of each kind (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each (default %(default)s)")
    parser.add_argument("--images", type=int, default=256, help="training images (default %(default)s)")
    parser.add_argument("--image-size", type=int, default=160, help="pixels (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_digits(folder / "data", options.images, options.images // 4, options.image_size)
        described = {**_description(folder / "data"), "path": str(folder / "data")}
        (folder / "absolute.yaml").write_text(json.dumps(described))
        runs: dict[str, list[Run]] = {"plain": [], "ours": []}
        for pair in range(options.pairs):
            outputs = {}
            for kind in ("plain", "ours") if pair % 2 == 0 else ("ours", "plain"):
                place = folder / f"{kind}-{pair}"
                place.mkdir()
                train = plain if kind == "plain" else ours
                run, outputs[kind] = train(folder, place, options.epochs, options.image_size)
                runs[kind].append(run)
                print(f"pair {pair + 1}, {kind}: {run.total.cpu:.1f} s CPU, {run.total.wall:.1f} s", flush=True)
            if figures(outputs["plain"]) != figures(outputs["ours"]):
                sys.exit("the two runs have different figures")
        print(f"{options.epochs} epochs, {options.images} images of {options.image_size} pixels: same figures")
        report(runs["plain"], runs["ours"])


def _description(data: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((data / "data.yaml").read_text())
    return content


if __name__ == "__main__":
    main()
