"""Measured GPU memory, without blocking the event loop."""

import asyncio
import time
from collections.abc import Callable

from gpu_memory import GpuMemory, GpuUnavailable

Read = Callable[[], GpuMemory]

SETTLE_SECONDS = 2.5
SETTLE_POLL_SECONDS = 0.1


async def measure(read: Read) -> GpuMemory:
    """Read the GPU's memory now.

    Raises:
        GpuUnavailable: there is no GPU, or it cannot be measured.

    """
    return await asyncio.to_thread(read)


async def free_mib(read: Read) -> int | None:
    """Return the free MiB now, or None where no GPU can be measured."""
    try:
        return (await measure(read)).free_mib
    except GpuUnavailable:
        return None


async def settled_free_mib(read: Read, expected_mib: int) -> int | None:
    """Return the free MiB once they cover `expected_mib`, or once the driver has had its time to give memory back.

    A real driver returns a dead process's memory up to 1.5 s after its exit, so one reading then proves nothing.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    free = await free_mib(read)
    while free is not None and free < expected_mib and time.monotonic() < deadline:
        await asyncio.sleep(SETTLE_POLL_SECONDS)
        free = await free_mib(read)
    return free
