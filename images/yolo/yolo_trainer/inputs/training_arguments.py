# SPDX-License-Identifier: AGPL-3.0-only
"""The request for a training run that passed all checks, and Ultralytics' arguments for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError, in_one_sentence
from yolo_trainer.job.spec import Job

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp"),
    "auto_augment": ("randaugment", "augmix", "autoaugment"),
    "copy_paste_mode": ("flip", "mixup"),
}
"""Values that Ultralytics checks only when it trains."""
SHARED_MEMORY_FOR_WORKERS = 512 * 2**20
"""Bytes of /dev/shm from which data-loading processes are used: batches pass through it, and a pod has 64 MiB."""
MAX_WORKERS = 8


@dataclass(frozen=True)
class TrainingRequest:
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
        return self.job.output.work_folder

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


def default_workers(torch_device: str, shared_memory: int, cpus: int) -> int:
    """Return how many data-loading processes suit: none on a CPU, which is busy enough, or with little /dev/shm."""
    if torch_device == "cpu" or shared_memory < SHARED_MEMORY_FOR_WORKERS:
        return 0
    return min(MAX_WORKERS, cpus)


def check_values(arguments: Mapping[str, Any]) -> None:
    """Let Ultralytics check the arguments' values one by one: it names only the first that is wrong.

    Raises:
        ConfigInvalidError: with a sentence on each value of the wrong type or outside its range.

    """
    problems = [problem for name, value in arguments.items() if (problem := _problem(name, value))]
    if problems:
        raise ConfigInvalidError(in_one_sentence(problems))


def check_compiler(args: Mapping[str, Any]) -> None:
    """Check that `compile` has a compiler: without one, Ultralytics ignores it, or fails in the first step.

    Raises:
        ConfigInvalidError: the compiler, or Triton for a GPU, is missing.

    """
    import torch

    if not args.get("compile") or args.get("distill_model"):  # Ultralytics does not compile a distillation
        return
    on_gpu = torch.version.cuda is not None
    variable, programs = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++", "clang++"))
    given = os.environ.get(variable)
    missing = (
        [] if any(map(shutil.which, given.split()[:1] if given else programs)) else [f"a compiler ({programs[0]})"]
    )
    if on_gpu and find_spec("triton") is None:
        missing.append("the Python package triton")
    if missing:
        raise ConfigInvalidError(
            f"training.args.compile needs {' and '.join(missing)}, which this image lacks: leave it out, or use an "
            "image built with it"
        )


def check_device(args: Mapping[str, Any], torch_device: str) -> None:
    """Check that the device has the precision that is asked for.

    Raises:
        ConfigInvalidError: `amp: bf16` where the device has no bfloat16 of its own.

    """
    import torch

    if str(args.get("amp")).lower() != "bf16":
        return
    if torch_device == "cpu":
        raise ConfigInvalidError("training.args.amp is bf16, which needs a CUDA GPU, and there is none: leave it out")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigInvalidError(
            f"training.args.amp is bf16, and the {torch.cuda.get_device_name()} has no bfloat16: leave it out, or use "
            "amp: fp16 (GPUs from Ampere on have bfloat16)"
        )


def _problem(name: str, value: Any) -> str | None:
    from ultralytics.cfg import get_cfg

    try:
        get_cfg(overrides={name: value})
    except (TypeError, ValueError, SyntaxError) as error:
        return f"training.args: {' '.join(str(error).split())}"
    choices = CHOICES.get(name, ())
    if choices and value and str(value).lower() not in {choice.lower() for choice in choices}:
        return f"training.args.{name} is {value}; it must be one of {', '.join(choices)}"
    if name == "quantize" and str(value) in ("8", "int8") and find_spec("modelopt") is None:
        return (
            "training.args.quantize needs the Python package nvidia-modelopt, which this image lacks: leave it out, or "
            "use an image built with it"
        )
    return None


def _shared_memory() -> int:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 0
