"""The one device module: what a GPU holds (NVML), and the device a process computes on.

Whether the GPU is real or simulated is known here and nowhere else. Importing this package imports neither torch nor
pynvml's library; reading memory never imports torch, and so never creates a CUDA context.
"""

from gpu_memory.device import (
    CpuDevice,
    CudaDevice,
    Device,
    Reservation,
    SimulatedDevice,
    computes_on_host,
    open_device,
)
from gpu_memory.nvml import GpuMemory, GpuUnavailable, read
from gpu_memory.simulated import Booking, Ledger, SimulatedOutOfMemoryError, create_ledger

__all__ = [
    "Booking",
    "CpuDevice",
    "CudaDevice",
    "Device",
    "GpuMemory",
    "GpuUnavailable",
    "Ledger",
    "Reservation",
    "SimulatedDevice",
    "SimulatedOutOfMemoryError",
    "computes_on_host",
    "create_ledger",
    "open_device",
    "read",
]
