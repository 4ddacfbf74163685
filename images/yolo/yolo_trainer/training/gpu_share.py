# SPDX-License-Identifier: AGPL-3.0-only
"""The GPU that an attempt was assigned: preflight, device, and the cap on the memory that the attempt may take."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

import gpu_memory
from yolo_trainer.job.spec import Gpu
from yolo_trainer.training import preflight
from yolo_trainer.training.failures import MemoryFigures

log = logging.getLogger(__name__)


class GpuShare:
    """One attempt's share of a GPU. Sizes in MiB."""

    def __init__(self, with_preflight: bool) -> None:
        """Create a share without a GPU; `with_preflight` checks the GPU's free memory in `open`, and caps the share."""
        self._with_preflight = with_preflight
        self._device: gpu_memory.Device | None = None
        self.granted_mib: int | None = None
        """What the attempt may take; None without a GPU."""

    def open(self, gpu: Gpu) -> gpu_memory.Device:
        """Check the GPU that the job was assigned, then open the device.

        Raises:
            WrongGpuError, GpuMemoryUnavailableError: as `preflight.check_gpu`.
            GpuUnavailable: a GPU is there but cannot be used.

        """
        self.granted_mib = self._checked(gpu)
        self._device = gpu_memory.open_device()
        return self._device

    def reserved(self) -> AbstractContextManager[object]:
        """Cap the memory at the grant for the length of a `with` block."""
        if self._device is None or self.granted_mib is None:
            return nullcontext()
        if self._device.kind == "cuda" and not self._with_preflight:
            return nullcontext()
        return self._device.reserve(self.granted_mib)

    def allocated_mib(self) -> int:
        """Return the memory that this process holds."""
        return self._device.allocated_mib() if self._device else 0

    def peak_mib(self) -> int:
        """Return the most memory that this process has held."""
        return self._device.peak_mib() if self._device else 0

    def figures(self) -> MemoryFigures:
        """Return the figures of the GPU's memory, for a message."""
        try:
            seen = preflight.figures(gpu_memory.read())
        except gpu_memory.GpuUnavailable:
            seen = ""
        return MemoryFigures(self.granted_mib, self._device.peak_mib() if self._device else None, seen)

    def _checked(self, gpu: Gpu) -> int | None:
        if not self._with_preflight:
            return gpu.memory_mib
        seen: gpu_memory.GpuMemory | gpu_memory.GpuUnavailable
        try:
            seen = gpu_memory.read()
        except gpu_memory.GpuUnavailable as error:
            seen = error
        granted = preflight.check_gpu(gpu, seen)
        if isinstance(seen, gpu_memory.GpuMemory):
            log.info("Preflight: %s; %d MiB are granted", preflight.figures(seen), granted)
        else:
            log.warning("No GPU is visible (%s): training on the CPU", seen)
        return granted
