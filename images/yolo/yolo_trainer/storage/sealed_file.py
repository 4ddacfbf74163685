# SPDX-License-Identifier: AGPL-3.0-only
"""Files that end in a checksum of their content, so that damage is detected without a second file."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

_MARK = b"\nsha256:"
_LENGTH = len(_MARK) + hashlib.sha256().digest_size * 2
_SEAL = re.compile(re.escape(_MARK) + rb"[0-9a-f]{64}")
_PIECE = 2**20


def seal(file: Path) -> None:
    """Append its checksum to a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with file.open("ab") as stream:
        stream.write(_MARK + digest.encode())


def is_intact(file: Path) -> bool:
    """Return False where a file is missing, or differs from what was sealed.

    A file without a checksum passes, as release 0.1.0 wrote them: its reader must detect whether it was cut.

    Raises:
        OSError: the file is there and cannot be read.

    """
    if not file.is_file():
        return False
    size, mark = _sealed_size(file)
    if mark is None:
        return True
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while size > 0:
            piece = stream.read(min(_PIECE, size))
            digest.update(piece)
            size -= len(piece)
    return mark == _MARK + digest.hexdigest().encode()


def copy_content(source: Path, target: Path) -> None:
    """Copy a file without its seal."""
    size, _ = _sealed_size(source)
    shutil.copyfile(source, target)
    with target.open("r+b") as stream:
        stream.truncate(size)


def _sealed_size(file: Path) -> tuple[int, bytes | None]:
    """Return the number of bytes before the seal, and the seal; None where there is none."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - _LENGTH))
        mark = stream.read()
    return (size - _LENGTH, mark) if _SEAL.fullmatch(mark) else (size, None)
