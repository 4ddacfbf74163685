# SPDX-License-Identifier: AGPL-3.0-only
"""Write files so that a kill or a power loss leaves the old content or the new one, and no part of either."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file in one step, and to the disk."""
    replace_atomically(target, lambda temporary: temporary.write_bytes(content))


def replace_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file with `write`, and rename it; both reach the disk before this returns."""
    temporary = target.with_name(f".{target.name}.tmp")
    write(temporary)
    fsync(temporary)
    temporary.replace(target)
    fsync(target.parent)


def fsync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
