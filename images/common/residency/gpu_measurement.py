"""Measured GPU memory, without blocking the event loop."""

import asyncio
import time
from collections.abc import Callable

from gpu_memory import GpuMemory, GpuUnavailable

ReadMemory = Callable[[], GpuMemory]

SETTLE_SECONDS = 2.5
SETTLE_POLL_SECONDS = 0.1


async def measure(read_memory: ReadMemory) -> GpuMemory:
    """Read the GPU's memory now.

    Raises:
        GpuUnavailable: there is no GPU, or it cannot be measured.

    """
    return await asyncio.to_thread(read_memory)


async def free_mib(read_memory: ReadMemory) -> int | None:
    """Return the free MiB now, or None where no GPU can be measured."""
    try:
        return (await measure(read_memory)).free_mib
    except GpuUnavailable:
        return None


async def settled_free_mib(read_memory: ReadMemory, expected_mib: int) -> int | None:
    """Return the free MiB once they cover `expected_mib`, or after 2.5 s, the time that drivers take to free it.

    A real driver frees an ended process's memory up to 1.5 s after its exit, so one reading proves nothing.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    free = await free_mib(read_memory)
    while free is not None and free < expected_mib and time.monotonic() < deadline:
        await asyncio.sleep(SETTLE_POLL_SECONDS)
        free = await free_mib(read_memory)
    return free
