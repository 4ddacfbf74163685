"""Whether the model may be loaded now: no hold forbids it, and enough GPU memory is measured free."""

from gpu_memory import GpuUnavailable
from residency.errors import NotEnoughMemoryError
from residency.gpu_measurement import ReadMemory, measure
from residency.hold_keeper import HoldKeeper


class LoadPermission:
    """Checks both conditions at each call. `need_mib` is what must be free; 0 computes on the CPU and needs nothing."""

    def __init__(self, holds: HoldKeeper, read_memory: ReadMemory, need_mib: int) -> None:
        self._holds = holds
        self._read_memory = read_memory
        self._need_mib = need_mib

    async def require(self) -> None:
        """Pass if the model may be loaded now.

        Raises:
            AdmissionClosedError: the GPU is lent out.
            NotEnoughMemoryError: too little memory is free, or it cannot be measured.

        """
        self._holds.require_no_hold()
        if self._need_mib:
            require_memory(await self._free_mib(), self._need_mib)

    async def _free_mib(self) -> int:
        try:
            return (await measure(self._read_memory)).free_mib
        except GpuUnavailable as error:
            raise NotEnoughMemoryError(f"free GPU memory cannot be measured, so nothing is loaded: {error}") from error


def require_memory(free_mib: int, need_mib: int) -> None:
    """Pass if a load finds the memory that it needs.

    Raises:
        NotEnoughMemoryError: it does not.

    """
    if free_mib < need_mib:
        raise NotEnoughMemoryError(f"the model needs {need_mib} MiB of free GPU memory and {free_mib} MiB are free")
