# SPDX-License-Identifier: AGPL-3.0-only
"""Recognise errors of PyTorch and the operating system: out of GPU memory, or out of shared memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yolo_trainer.training.progress import Progress, Stage

ULTRALYTICS_OUT_OF_MEMORY = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_internal_error",
    "unable to find an engine",
)
"""Texts after which Ultralytics halves the batch (`BaseTrainer._do_train`), in lower case."""
_LIBRARY_STATUS = re.compile(r"(cublas|cudnn|cusolver|cusparse)_status_(?!success)(\w+)")
_NOT_MEMORY = ("bad_param", "invalid_value", "not_supported", "arch_mismatch", "mismatch", "license", "version")
"""Parts of a library's status that say that the call, the device or the installation is wrong."""
_FURTHER_OUT_OF_MEMORY = ("unable to find a valid cudnn algorithm", "cudaerrormemoryallocation")
_SHARED_MEMORY = re.compile(
    r"out of shared memory|unable to (open|allocate) shared memory|unable to [^<\n]*file </torch_", re.IGNORECASE
)
"""What PyTorch says where /dev/shm is full, or holds more tensors than it can."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that the GPU, or the granted share of it, is out of memory.

    A full GPU has many faces: PyTorch's own error, and what CUDA's libraries raise when they get no workspace or
    cannot create their handle.
    """
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError) or shared_memory_problem(error) is not None:
        return False
    text = str(error).lower()
    if any(face in text for face in (*ULTRALYTICS_OUT_OF_MEMORY, *_FURTHER_OUT_OF_MEMORY)):
        return True
    return any(not any(part in status for part in _NOT_MEMORY) for _, status in _LIBRARY_STATUS.findall(text))


def shared_memory_problem(error: BaseException) -> str | None:
    """Return a sentence for a failure of the data-loading processes to share images; None for any other error."""
    if not isinstance(error, RuntimeError) or not _SHARED_MEMORY.search(str(error)):
        return None
    return (
        "the data-loading processes ran out of shared memory (/dev/shm): lower training.args.workers (0 needs none), "
        f"or give the pod a larger memory-backed emptyDir at /dev/shm and more memory ({first_line(error)})"
    )


@dataclass(frozen=True)
class MemoryFigures:
    """The figures of the GPU's memory. Sizes in MiB."""

    granted_mib: int | None
    peak_mib: int | None
    device: str
    """The reading of the driver, as a sentence; empty where there is none."""


def out_of_memory_sentence(error: BaseException, now: Progress, batch: int, memory: MemoryFigures) -> str:
    """Return a message on an OOM error: when, with which batch (0: none yet), the figures, and what to change."""
    granted = f"{memory.granted_mib} MiB were granted" if memory.granted_mib else ""
    peak = "" if memory.peak_mib is None else f"the training's peak was {memory.peak_mib} MiB"
    facts = "; ".join(part for part in (granted, peak, memory.device) if part)
    if now.stage == Stage.EXPORTING:
        return (
            f"out of GPU memory in an export: {facts}. The weights are published; ask for more gpu.memory, or leave "
            f"the format out of output.export. ({first_line(error)})"
        )
    with_batch = f", with {batch} images per batch" if batch else ""
    return (
        f"out of GPU memory {_moment(now)}{with_batch}: {facts}. Ask for more gpu.memory, or for a smaller batch or "
        f"imageSize. ({first_line(error)})"
    )


def _moment(now: Progress) -> str:
    if now.stage == Stage.PREPARING:
        return "before the first epoch"
    if not now.epochs:
        return "in the validation"
    where = "in a validation " if now.stage == Stage.VALIDATING else ""
    return f"{where}after {now.epoch} of {now.epochs} epochs"


def first_line(error: BaseException) -> str:
    """Return the line of an error's text that names the cause: the last one of what a data-loading process raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].startswith("Caught ") else lines[0]
