# SPDX-License-Identifier: AGPL-3.0-only
"""Unpack an archive that is not trusted: nothing is written outside the folder, and no more than a limit.

Files are written by our own code and not by `tarfile`, whose filters the first releases of Python 3.11 lack.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from yolo_trainer.errors import DatasetInvalidError

GIB = 2**30
CHUNK = 2**20
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_ENTRIES = 20_000_000
_LEFT_OUT = ("__MACOSX", ".DS_Store")
"""What macOS adds to every archive."""
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, UnicodeDecodeError)
"""What the libraries raise on a damaged archive, besides an OSError without a number."""
_BEGINNINGS = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_IMPOSSIBLE_NAMES = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""What the system says of names that cannot be, such as a file and a folder of one name."""


def is_archive(name: str) -> bool:
    """Say whether a file name is that of an archive which `unpack` reads."""
    return name.lower().endswith(SUFFIXES)


def unpack(file: Path, folder: Path, limit: int, name: str | None = None) -> int:
    """Unpack a zip or tar file into an empty folder and return the bytes written.

    Args:
        file: the archive; what it is is seen from its content.
        folder: where to; it must exist.
        limit: most bytes that it may unpack to.
        name: what the archive is called in sentences, where that is not the file's own name.

    Raises:
        DatasetInvalidError: no archive, a damaged one, one that holds names or links which lead out of the folder, or
            one that unpacks to more than the limit, or than the volume has room for.

    """
    name = name or file.name
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                return _unpack_zip(archive, _Target(name, folder, limit))
        with tarfile.open(file) as archive:
            return _unpack_tar(archive, _Target(name, folder, limit))
    except (RuntimeError, NotImplementedError) as error:
        raise DatasetInvalidError(
            f"{name} cannot be unpacked ({error}): pack it without a password, with deflate"
        ) from error
    except _DAMAGE as error:
        raise DatasetInvalidError(_unreadable(file, name, error)) from error
    except OSError as error:
        if error.errno in _IMPOSSIBLE_NAMES:
            raise DatasetInvalidError(
                f"{name} cannot be unpacked: {Path(str(error.filename)).name}: {error.strerror}; pack it again, with "
                "names that differ and are not that long"
            ) from error
        if error.errno is not None:
            raise
        raise DatasetInvalidError(_unreadable(file, name, error)) from error


class _Target:
    """The folder that is filled: checks every name, counts what is written, and says when it is too much."""

    def __init__(self, name: str, folder: Path, limit: int) -> None:
        self.name = name
        self.folder = folder
        self._limit = limit
        self._free = shutil.disk_usage(folder).free
        self._entries = 0
        self.taken = 0

    def path(self, name: str) -> Path:
        """Return where an entry goes; archives made on Windows may have backslashes between folders."""
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DatasetInvalidError(f"{self.name} is not safe to unpack: the name {name} leads out of its folder")
        return self.folder / path

    def take(self, size: int) -> None:
        self.taken += size
        self._entries += 1
        if self.taken > self._limit or self._entries > MOST_ENTRIES:
            raise DatasetInvalidError(
                f"{self.name} unpacks to more than {self._limit / GIB:.0f} GiB or {MOST_ENTRIES} files: if that is "
                "right, set DATASET_LIMIT_GIB in podTemplate.env"
            )
        if self.taken > self._free:
            raise DatasetInvalidError(
                f"{self.name} unpacks to more than {self.taken / GIB:.1f} GiB, and the volume has "
                f"{self._free / GIB:.1f} GiB left: give the cache a larger one"
            )

    def write(self, source: IO[bytes], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)


def _unpack_zip(archive: zipfile.ZipFile, target: _Target) -> int:
    entries = [(entry, target.path(entry.filename)) for entry in archive.infolist()]
    for entry, _ in entries:
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DatasetInvalidError(f"{target.name} holds the link {entry.filename}: pack the files themselves")
        target.take(entry.file_size)
    for entry, path in entries:
        if entry.filename.endswith(("/", "\\")) or _is_clutter(entry.filename):
            continue
        with archive.open(entry) as source:
            target.write(source, path)
    return target.taken


def _unpack_tar(archive: tarfile.TarFile, target: _Target) -> int:
    """Write folders and files first, and links when nothing is written through them any more."""
    links = []
    for entry in archive:
        path = target.path(entry.name)
        target.take(entry.size)
        if _is_clutter(entry.name):
            continue
        if entry.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif entry.islnk() or entry.issym():
            links.append(entry)
        else:
            source = archive.extractfile(entry)
            if source is None:
                raise DatasetInvalidError(f"{target.name} is not safe to unpack: {entry.name} is a device or a pipe")
            target.write(source, path)
    _check_end(archive)
    _link_files([entry for entry in links if entry.islnk()], target)
    _link_names([entry for entry in links if entry.issym()], target)
    return target.taken


def _check_end(archive: tarfile.TarFile) -> None:
    """Read what is behind the last entry, which `tarfile` leaves: a missing end, and the checksum of a gzip stream.

    Raises:
        tarfile.ReadError: the archive was cut off between two entries.
        OSError: the checksum is another one.

    """
    stream = archive.fileobj
    assert stream is not None, "the archive is open"
    if isinstance(stream, io.BufferedReader):  # not compressed
        stream.seek(archive.offset)
        if not stream.read(1):
            raise tarfile.ReadError("unexpected end of data")
    while stream.read(CHUNK):
        pass


def _link_files(entries: Sequence[tarfile.TarInfo], target: _Target) -> None:
    for entry in entries:
        path, source = target.path(entry.name), target.path(entry.linkname)
        if not source.is_file():
            raise DatasetInvalidError(
                f"{target.name} is damaged: {entry.name} is a link to {entry.linkname}, which is missing"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, path)


def _link_names(entries: Sequence[tarfile.TarInfo], target: _Target) -> None:
    """Make symbolic links; those that lead out, by themselves or through another, are removed again and refused."""
    paths = []
    for entry in entries:
        path = target.path(entry.name)
        led = posixpath.normpath(posixpath.join(posixpath.dirname(entry.name), entry.linkname))
        if posixpath.isabs(led) or led.split("/")[0] == "..":
            raise _leads_out(entry, target)
        paths.append(path)
    root = target.folder.resolve()
    made = []
    for entry, path in zip(entries, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(root):
            raise _leads_out(entry, target)
        path.symlink_to(entry.linkname)
        made.append((entry, path))
    for entry, path in made:
        if not Path(os.path.realpath(path)).is_relative_to(root):
            for _, each in made:
                each.unlink(missing_ok=True)
            raise _leads_out(entry, target)


def _leads_out(entry: tarfile.TarInfo, target: _Target) -> DatasetInvalidError:
    return DatasetInvalidError(
        f"{target.name} is not safe to unpack: the link {entry.name} leads out of its folder, to {entry.linkname}"
    )


def _unreadable(file: Path, name: str, error: Exception) -> str:
    with file.open("rb") as stream:
        beginning = stream.read(512)
    if beginning.startswith(_BEGINNINGS) or beginning[257:262] == b"ustar":
        return f"{name} is damaged or cut off ({str(error).partition(':')[0]}): pack it and upload it again"
    return f"{name} is no archive that can be read: give one of {', '.join(SUFFIXES)}"


def _is_clutter(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part in _LEFT_OUT or part.startswith("._") for part in parts)
