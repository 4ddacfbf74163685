"""Files in memory: they pass bodies, pixels and answers between processes without copies in the event loop."""

import mmap
import os
from collections.abc import Iterable

Piece = bytes | bytearray | memoryview
Bytes = bytes | mmap.mmap


def create(name: str, pieces: Iterable[Piece] = ()) -> int:
    """Return the descriptor of a new file with these pieces in it; the name is shown in /proc.

    Raises:
        OSError: there is no memory or descriptor left.

    """
    descriptor = os.memfd_create(name)
    try:
        for piece in pieces:
            write(descriptor, piece)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write(descriptor: int, data: Piece) -> int:
    """Append the data, and return its length in bytes; raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def take(descriptor: int) -> Bytes:
    """Close the file and return its content without copying it."""
    try:
        if not os.fstat(descriptor).st_size:
            return b""
        return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
