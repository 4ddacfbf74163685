# SPDX-License-Identifier: AGPL-3.0-only
"""Unpacks an archive that somebody else made: nothing lands outside the folder, and no more than a limit."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from yolo_trainer.outcome import DatasetInvalidError

GIB = 2**30
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_ENTRIES = 20_000_000
_LEFT_OUT = ("__MACOSX", ".DS_Store")
"""What macOS adds to every archive."""


def is_archive(name: str) -> bool:
    """Say whether a file name is that of an archive which `unpack` reads."""
    return name.lower().endswith(SUFFIXES)


def unpack(file: Path, folder: Path, limit: int) -> int:
    """Unpack a zip or tar file into an empty folder and return the bytes written.

    Args:
        file: the archive; what it is is seen from its content.
        folder: where to; it must exist.
        limit: most bytes that it may unpack to.

    Raises:
        DatasetInvalidError: no archive, a broken one, one that holds names or links which lead out of the folder, or
            one that unpacks to more than the limit, or than the volume has room for.

    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _unpack_zip(archive, folder, limit)
    except zipfile.BadZipFile as error:
        if zipfile.is_zipfile(file):
            raise DatasetInvalidError(f"{file.name} is damaged ({error}): pack it anew") from error
    except (RuntimeError, NotImplementedError) as error:
        raise DatasetInvalidError(
            f"{file.name} cannot be unpacked ({error}): pack it without a password, with deflate"
        ) from error
    try:
        with tarfile.open(file) as archive:
            return _unpack_tar(archive, folder, limit)
    except tarfile.FilterError as error:
        raise DatasetInvalidError(f"{file.name} is not safe to unpack: {error}") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DatasetInvalidError(
            f"{file.name} is no archive that can be read ({error}): give one of {', '.join(SUFFIXES)}"
        ) from error


def _unpack_zip(archive: zipfile.ZipFile, folder: Path, limit: int) -> int:
    name, entries = Path(str(archive.filename)).name, archive.infolist()
    budget = _Budget(name, folder, limit)
    for entry in entries:
        _check_name(name, entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DatasetInvalidError(f"{name} holds the link {entry.filename}: pack the files themselves")
        budget.take(entry.file_size)
    for entry in entries:
        if entry.is_dir() or _is_clutter(entry.filename):
            continue
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 2**20)
    return budget.taken


def _unpack_tar(archive: tarfile.TarFile, folder: Path, limit: int) -> int:
    name = Path(os.fsdecode(archive.name or b"")).name
    budget = _Budget(name, folder, limit)
    for entry in archive:
        _check_name(name, entry.name)
        budget.take(entry.size)
        if not _is_clutter(entry.name):
            archive.extract(entry, folder, filter="data")
    return budget.taken


class _Budget:
    """Counts what is unpacked, and says when it is too much."""

    def __init__(self, name: str, folder: Path, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._free = shutil.disk_usage(folder).free
        self._entries = 0
        self.taken = 0

    def take(self, size: int) -> None:
        self.taken += size
        self._entries += 1
        if self.taken > self._limit or self._entries > MOST_ENTRIES:
            raise DatasetInvalidError(
                f"{self._name} unpacks to more than {self._limit / GIB:.0f} GiB or {MOST_ENTRIES} files: if that is "
                "right, set DATASET_LIMIT_GIB in podTemplate.env"
            )
        if self.taken > self._free:
            raise DatasetInvalidError(
                f"{self._name} unpacks to more than {self.taken / GIB:.1f} GiB, and the volume has "
                f"{self._free / GIB:.1f} GiB left: give the cache a larger one"
            )


def _check_name(archive: str, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DatasetInvalidError(f"{archive} is not safe to unpack: the name {name} leads out of its folder")


def _is_clutter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part in _LEFT_OUT or part.startswith("._") for part in parts)
