"""What a GPU holds, measured with NVML through nvidia-ml-py.

Memory is read with version 2 of `nvmlDeviceGetMemoryInfo`: version 1 counts the driver's own reserve (about 450 MiB on
a T4) as used. NVML stays initialised between readings: without persistence mode each first initialisation wakes the
device up.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

MIB = 1 << 20
SIMULATED_GPU = "GPU_RELAY_SIMULATED_GPU"


class GpuUnavailable(Exception):  # noqa: N818 - it is a state of the world, and the contract's name for it
    """No GPU can be measured. The message says why, and what to change where something can be changed."""


@dataclass(frozen=True)
class GpuMemory:
    """One reading of a GPU's memory. Sizes in MiB, rounded so that free memory is never overstated."""

    uuid: str
    name: str
    total_mib: int
    reserved_mib: int
    used_mib: int
    free_mib: int


class _Session:
    """The process's initialised NVML: initialised again after a fork, after an error, and for another simulated GPU."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # a fork waits for a reading in progress: the child could never finish it, nor take its lock
        os.register_at_fork(
            before=self._lock.acquire, after_in_child=self._lock.release, after_in_parent=self._lock.release
        )
        self._key: tuple[int, str | None] | None = None

    def call(self, work: Callable[[], GpuMemory]) -> GpuMemory:
        with self._lock:
            try:
                self._open()
                return work()
            except pynvml.NVMLError:
                self._close()
                raise

    def _open(self) -> None:
        key = (os.getpid(), os.environ.get(SIMULATED_GPU))
        if self._key == key:
            return
        self._close()
        pynvml.nvmlInit()
        self._key = key

    def _close(self) -> None:
        if self._key is None:
            return
        self._key = None
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            return  # a lost device cannot be shut down; the next reading initialises it again


_session = _Session()


def read(index: int = 0) -> GpuMemory:
    """Measure the GPU that CUDA would call `cuda:<index>`; each call measures again.

    `CUDA_VISIBLE_DEVICES` is respected (numbers in PCI order, or UUIDs), so that what is measured is what is used.

    Raises:
        GpuUnavailable: there is no driver, no such GPU, or it does not report its memory.

    """
    try:
        return _session.call(lambda: _measure(index))
    except pynvml.NVMLError as error:
        raise GpuUnavailable(_sentence(error, index)) from error


def _measure(index: int) -> GpuMemory:
    handle = _handle(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return GpuMemory(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        total_mib=memory.total // MIB,
        reserved_mib=-(-memory.reserved // MIB),
        used_mib=-(-memory.used // MIB),
        free_mib=memory.free // MIB,
    )


def _handle(index: int) -> Any:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    names = [name.strip() for name in visible.split(",")]
    if index >= len(names) or names[index] in ("", "-1"):
        raise GpuUnavailable(f"CUDA_VISIBLE_DEVICES={visible!r} hides GPU {index} from this process")
    if names[index].isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(names[index]))
    return pynvml.nvmlDeviceGetHandleByUUID(names[index])


def _sentence(error: Any, index: int) -> str:
    simulated = os.environ.get(SIMULATED_GPU)
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND and simulated:
        return f"the simulated driver library was not found: LD_LIBRARY_PATH must contain {simulated}/lib"
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return "no NVIDIA driver library (libnvidia-ml.so.1) was found: this machine or container has no NVIDIA GPU"
    if error.value in (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_GPU_IS_LOST) and simulated:
        return (
            f"{simulated} holds no simulated GPU: point {SIMULATED_GPU} at one, "
            f"or make it with `python -m gpu_memory create-ledger {simulated}`"
        )
    if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
        return "the NVIDIA driver cannot distinguish reserved from used memory: install driver 510 or newer"
    if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
        return f"GPU {index} does not report its memory through NVML (integrated GPUs do not)"
    return f"NVML could not measure GPU {index}: {error}"
