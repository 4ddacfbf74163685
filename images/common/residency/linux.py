"""Calls to Linux: die with the parent, adopt orphans, set the process name, count resident memory.

On other systems these calls do nothing.
"""

import ctypes
import mmap
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, so that no orphan keeps GPU memory.

    Raises:
        SystemExit: the parent is dead already.

    """
    _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:
        raise SystemExit("the server died before this process started")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def set_process_name(name: str) -> None:
    """Name this process as `ps -e` and `top` show it, in at most 15 characters."""
    _prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()))


def resident_bytes(address: int, size: int) -> int:
    """Return how many bytes of this process's memory from an address on are in physical memory; all where unknown."""
    if sys.platform != "linux" or not size:
        return size
    begin = address - address % mmap.PAGESIZE
    length = address + size - begin
    pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    if ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(begin), ctypes.c_size_t(length), pages):
        return size
    return min(size, sum(page & 1 for page in pages) * mmap.PAGESIZE)


def _prctl(option: int, value: "ctypes.c_ulong | ctypes.c_char_p") -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value)
