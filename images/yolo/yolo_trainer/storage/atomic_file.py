# SPDX-License-Identifier: AGPL-3.0-only
"""Writes files so that a kill or a power loss leaves the old content or the new one, and no part of either."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, and on the disk."""
    replace_atomically(target, lambda temporary: temporary.write_bytes(content))


def replace_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Let a file be written, then put it in its place, and both on the disk: a node may lose power too."""
    temporary = target.with_name(f".{target.name}.tmp")
    write(temporary)
    fsync(temporary)
    temporary.replace(target)
    fsync(target.parent)


def fsync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
