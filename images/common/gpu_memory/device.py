"""The device that a process computes on, and what it holds there.

PyTorch is imported only when a device is opened that needs it: measuring memory never does.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from gpu_memory.nvml import MIB, SIMULATED_GPU, GpuUnavailable, read
from gpu_memory.simulated import Ledger


class Reservation(Protocol):
    """What `reserve` hands out."""

    @property
    def mib(self) -> int:
        """Its size in MiB."""
        ...


class Device(Protocol):
    """Where a process computes. Sizes in MiB."""

    @property
    def kind(self) -> Literal["cuda", "simulated", "cpu"]:
        """What it is, for logs and metrics; nothing should have to decide on it."""
        ...

    @property
    def torch_device(self) -> str:
        """The name PyTorch knows it by."""
        ...

    def reserve(self, mib: int) -> AbstractContextManager[Reservation]:
        """Keep within `mib` for the length of a `with` block.

        Raises:
            torch.OutOfMemoryError: a simulated GPU has less than that free.
            ValueError: a size that makes no sense.

        """
        ...

    def allocated_mib(self) -> int:
        """What this process holds."""
        ...

    def peak_mib(self) -> int:
        """The most that this process has held."""
        ...


@dataclass(frozen=True)
class _Cap:
    mib: int


class CudaDevice:
    """The first CUDA device of this process. Figures are the allocator's, without the CUDA context (100-500 MiB)."""

    kind: Literal["cuda"] = "cuda"
    torch_device = "cuda:0"

    @contextmanager
    def reserve(self, mib: int) -> Iterator[Reservation]:
        """Cap this process's caching allocator; PyTorch then raises `torch.OutOfMemoryError` instead of taking more.

        Nothing is taken in advance, and the CUDA context comes on top of the cap.
        """
        import torch

        total_mib = torch.cuda.get_device_properties(0).total_memory // MIB
        if not 0 < mib <= total_mib:
            raise ValueError(f"cannot reserve {mib} MiB on a GPU of {total_mib} MiB")
        torch.cuda.set_per_process_memory_fraction(mib / total_mib, 0)
        try:
            yield _Cap(mib)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, 0)

    def allocated_mib(self) -> int:
        """What the caching allocator holds, in MiB: more than the tensors that live, and what others cannot use."""
        import torch

        return torch.cuda.memory_reserved(0) // MIB

    def peak_mib(self) -> int:
        """The most that the caching allocator has held, in MiB."""
        import torch

        return torch.cuda.max_memory_reserved(0) // MIB


class SimulatedDevice:
    """A simulated GPU: arithmetic on the CPU, memory booked on the ledger."""

    kind: Literal["simulated"] = "simulated"
    torch_device = "cpu"

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._allocated_mib = 0
        self._peak_mib = 0

    @contextmanager
    def reserve(self, mib: int) -> Iterator[Reservation]:
        """Book `mib`, or raise `torch.OutOfMemoryError` when less is free."""
        with self.ledger.book(mib) as booking:
            self._allocated_mib += mib
            self._peak_mib = max(self._peak_mib, self._allocated_mib)
            try:
                yield booking
            finally:
                self._allocated_mib -= mib

    def allocated_mib(self) -> int:
        """What this object has booked, in MiB."""
        return self._allocated_mib

    def peak_mib(self) -> int:
        """The most that this object has had booked at a time, in MiB."""
        return self._peak_mib


class CpuDevice:
    """No GPU: nothing to share, nothing to measure."""

    kind: Literal["cpu"] = "cpu"
    torch_device = "cpu"

    @contextmanager
    def reserve(self, mib: int) -> Iterator[Reservation]:
        """Hold nothing."""
        yield _Cap(mib)

    def allocated_mib(self) -> int:
        """Nothing."""
        return 0

    def peak_mib(self) -> int:
        """Nothing."""
        return 0


def computes_on_host() -> bool:
    """Whether the GPU of this process is simulated, so that the CPU does the arithmetic. Asks no driver."""
    return bool(os.environ.get(SIMULATED_GPU))


def open_device() -> CudaDevice | SimulatedDevice | CpuDevice:
    """Find this process's device: the simulated GPU that is named, else a CUDA GPU, else the CPU.

    Raises:
        GpuUnavailable: a GPU is there but cannot be used; computing on the CPU instead would be a silent surprise.

    """
    if computes_on_host():
        return SimulatedDevice(Ledger(os.environ[SIMULATED_GPU]))
    try:
        memory = read()
    except GpuUnavailable:
        memory = None
    import torch

    if torch.cuda.is_available():
        return CudaDevice()
    if memory is None:
        return CpuDevice()
    raise GpuUnavailable(
        f"the driver shows a {memory.name}, but PyTorch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it: "
        "install a newer driver or a PyTorch build that fits it, or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
    )
