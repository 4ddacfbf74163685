"""Trains all five tasks on small data made of real handwriting, and shows how each gets better from epoch to epoch.

    python -m bench.trainer_tasks
    python -m bench.trainer_tasks --tasks segment,obb

From scratch, on the CPU: each takes some minutes. Exits with 1 where a task does not get clearly better.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.trainer_datasets import make_dataset
from bench.trainer_process import ColdAttempt

ARGS = {
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "nbs": 8,
    "mosaic": 0.0,
    "fliplr": 0.0,
    "plots": False,
    "workers": 0,
}
IMAGE_SIZE = 64
BATCH = 8


@dataclass(frozen=True)
class Task:
    """How a task is trained, and by which figure it is judged."""

    model: str
    column: str
    """Of results.csv."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Beside `ARGS`."""


TASKS = {
    "detect": Task("yolo26n.yaml", "metrics/mAP50(B)"),
    "segment": Task("yolo26n-seg.yaml", "metrics/mAP50(M)"),
    # Ultralytics' default augmentation makes digits in 64 pixels unreadable.
    "classify": Task("yolo26n-cls.yaml", "metrics/accuracy_top1", {"auto_augment": None, "erasing": 0.0, "lr0": 0.001}),
    "pose": Task("yolo26n-pose.yaml", "metrics/mAP50(P)"),
    "obb": Task("yolo26n-obb.yaml", "metrics/mAP50(B)"),
}
EPOCHS = 12
RISE = 0.3
"""How much better than after its first epoch each task has to become, at the least."""


def job(name: str, data: Path, output: Path, epochs: int) -> dict[str, Any]:
    """Return the job that trains a task."""
    return {
        "job": {"namespace": "bench", "name": name, "uid": name},
        "model": TASKS[name].model,
        "task": name,
        "dataset": {"path": str(data)},
        "training": {"epochs": epochs, "imageSize": IMAGE_SIZE, "batch": BATCH, "args": {**ARGS, **TASKS[name].args}},
        "output": {"path": str(output), "export": ["onnx"]},
    }


def train(name: str, folder: Path, epochs: int, images: int) -> tuple[list[float], str]:
    """Train a task, and return its figure after each epoch, and the trainer's message. Exits if it fails."""
    place, data = folder / name, folder / f"data-{name}"
    place.mkdir()
    make_dataset(name, data, train=images, val=images // 4)
    (place / "job.json").write_text(json.dumps(job(name, data, place / "output", epochs)))
    attempt = ColdAttempt(place, folder)
    if attempt.wait():
        sys.exit(f"{name} ended with {attempt.wait()}:\n{attempt.log}")
    with (place / "output" / "results.csv").open(newline="") as file:
        values = [float(row[TASKS[name].column]) for row in csv.DictReader(file)]
    return values, json.loads((place / "termination-log").read_bytes())["message"]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer_tasks", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="which, with commas (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of each (default %(default)s)")
    parser.add_argument("--images", type=int, default=160, help="training images (default %(default)s)")
    options = parser.parse_args()
    names = options.tasks.split(",")
    if unknown := set(names) - TASKS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        print("| task | figure | after each epoch | best weights | seconds |\n| --- | --- | --- | --- | --- |")
        for name in names:
            task, began = TASKS[name], time.monotonic()
            values, message = train(name, Path(temporary), options.epochs, options.images)
            course = " ".join(f"{value:.2f}" for value in values)
            seconds = time.monotonic() - began
            print(f"| {name} | {task.column} | {course} | {message} | {seconds:.0f} |", flush=True)
            if max(values) < values[0] + RISE:
                missed.append(f"{name} began with {values[0]:.2f} and came to no more than {max(values):.2f}")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
