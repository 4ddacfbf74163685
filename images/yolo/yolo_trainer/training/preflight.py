# SPDX-License-Identifier: AGPL-3.0-only
"""The check before CUDA is used: the right GPU, with the granted memory free."""

from __future__ import annotations

from gpu_memory import GpuMemory, GpuUnavailable
from yolo_trainer.errors import GpuMemoryUnavailableError, WrongGpuError
from yolo_trainer.job.spec import Gpu


def check_gpu(wanted: Gpu, seen: GpuMemory | GpuUnavailable) -> int | None:
    """Compare the job's grant with what NVML reports, and return the MiB that it may take; None without a GPU.

    A job without a GPU's UUID may run without a GPU, and a job without an amount of memory may take all that is free.

    Raises:
        WrongGpuError: this process sees another GPU, or none.
        GpuMemoryUnavailableError: less memory is free than the job was granted.

    """
    if isinstance(seen, GpuUnavailable):
        if wanted.uuid is not None:
            raise WrongGpuError(f"the job was given {wanted.uuid}, but this container sees no GPU: {seen}")
        return None
    if wanted.uuid is not None and wanted.uuid.lower() != seen.uuid.lower():
        raise WrongGpuError(f"the job was given {wanted.uuid}, but this container sees {seen.uuid} ({seen.name})")
    if wanted.memory_mib is None:
        return seen.free_mib
    if seen.free_mib < wanted.memory_mib:
        raise GpuMemoryUnavailableError(
            f"{figures(seen)}; the training needs {wanted.memory_mib} MiB, {wanted.memory_mib - seen.free_mib} MiB more"
        )
    return wanted.memory_mib


def figures(seen: GpuMemory) -> str:
    """Return a GPU's memory as part of a sentence."""
    return f"{seen.free_mib} of {seen.total_mib} MiB are free on {seen.name} {seen.uuid} ({seen.used_mib} MiB are used)"
