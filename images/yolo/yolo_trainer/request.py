# SPDX-License-Identifier: AGPL-3.0-only
"""What is trained, after all checks, and the arguments that Ultralytics is given for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yolo_trainer.job import Job
from yolo_trainer.outcome import ConfigInvalidError

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp"),
    "auto_augment": ("randaugment", "augmix", "autoaugment"),
    "copy_paste_mode": ("flip", "mixup"),
}
"""Values that Ultralytics judges only when it trains."""
SHARED_MEMORY_FOR_WORKERS = 512 * 2**20
"""Bytes of /dev/shm from which data-loading processes are used: batches pass through it, and a pod has 64 MiB."""
MOST_WORKERS = 8


@dataclass(frozen=True)
class Request:
    """What is trained, after all checks."""

    job: Job
    data: Path
    model: str
    args: Mapping[str, Any]
    """`training.args`, with every weight file found."""
    torch_device: str
    batch: int

    @property
    def work(self) -> Path:
        """The folder that Ultralytics writes to."""
        return work_folder(self.job.output.path)

    def arguments(self) -> dict[str, Any]:
        """Return Ultralytics' arguments: the job's own, and those that the job's other fields decide."""
        training = self.job.training
        return {
            "workers": default_workers(self.torch_device, _shared_memory(), len(os.sched_getaffinity(0))),
            **self.args,
            "mode": "train",
            "task": self.job.task,
            "model": self.model,
            "data": str(self.data),
            "epochs": training.epochs,
            "imgsz": training.image_size,
            "batch": self.batch,
            "patience": training.patience,
            "seed": training.seed,
            "device": self.torch_device,
            "save": True,
            "save_dir": str(self.work),
        }


def work_folder(output: Path) -> Path:
    """Return where a run's files lie until it is complete."""
    return output / "work"


def default_workers(torch_device: str, shared_memory: int, cpus: int) -> int:
    """Return how many data-loading processes suit: none on a CPU, which is busy enough, or with little /dev/shm."""
    if torch_device == "cpu" or shared_memory < SHARED_MEMORY_FOR_WORKERS:
        return 0
    return min(MOST_WORKERS, cpus)


def check_values(arguments: Mapping[str, Any]) -> None:
    """Let Ultralytics judge the arguments' values.

    Raises:
        ConfigInvalidError: a value of the wrong type or outside its range.

    """
    from ultralytics.cfg import get_cfg

    try:
        get_cfg(overrides=dict(arguments))
    except (TypeError, ValueError, SyntaxError) as error:
        raise ConfigInvalidError(f"training.args: {' '.join(str(error).split())}") from error
    for name, choices in CHOICES.items():
        value = arguments.get(name)
        if value and str(value).lower() not in {choice.lower() for choice in choices}:
            raise ConfigInvalidError(f"training.args.{name} is {value}; it must be one of {', '.join(choices)}")
    if str(arguments.get("quantize")) in ("8", "int8") and find_spec("modelopt") is None:
        raise ConfigInvalidError(
            "training.args.quantize needs the Python package nvidia-modelopt, which this image lacks: leave it out, or "
            "use an image built with it"
        )


def _shared_memory() -> int:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 0
