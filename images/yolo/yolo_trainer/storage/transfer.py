# SPDX-License-Identifier: AGPL-3.0-only
"""Copy files from and to URIs. `StorageError` says whether another try may succeed."""

from __future__ import annotations

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from yolo_trainer.storage.backends import StorageError, redacted, store_of

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 3
"""How often one transfer is tried before the attempt fails."""
PAUSE_SECONDS = 2.0
"""Before the second try; it doubles after each."""
DENIED = ("PermissionDeniedError", "UnauthenticatedError")
UNUSABLE = ("InvalidPathError", "UnknownConfigurationKeyError", "NotSupportedError", "InvalidURL")
"""Names of errors of obstore and aiohttp, which are imported only where they are used."""


def fetch_file(uri: str, target: Path) -> int:
    """Copy one file from a URI to `target` and return its size in bytes.

    Raises:
        StorageError: it does not exist, may not be read, or could not be read in several tries.

    """

    def transfer() -> int:
        store_of(uri).read(uri, target)
        return target.stat().st_size

    return _tried(transfer, uri)


def fetch_folder(uri: str, target: Path) -> int:
    """Copy a folder from a URI, with all that lies below it, and return its size in bytes.

    Raises:
        StorageError: as `fetch_file`; also for a folder that is empty, and for names that lead out of `target`.

    """

    def transfer() -> int:
        store, size, folder = store_of(uri), 0, uri.rstrip("/")
        for name in store.names(folder):
            if ".." in name.split("/"):
                raise StorageError(f"{redacted(uri)}: the name {name} leads out of the folder", refused=True)
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            store.read(f"{folder}/{name}", place)
            size += place.stat().st_size
        if not any(target.iterdir()):
            raise FileNotFoundError(uri)
        return size

    return _tried(transfer, uri)


class RemoteFolder:
    """A folder behind a URI that can be written, such as `s3://bucket/models/digits`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")

    @property
    def shown(self) -> str:
        """Its URI, for people."""
        return redacted(self._uri)

    def uri_of(self, name: str) -> str:
        """Return the URI of a file in it."""
        return f"{self._uri}/{name}"

    def put(self, file: Path, name: str) -> None:
        """Write a copy of a file; other readers of an object store see it whole or not at all.

        Raises:
            StorageError: it could not be written in several tries, or may not be.

        """
        uri = self.uri_of(name)
        _tried(lambda: store_of(uri).write(file, uri), uri)

    def get(self, name: str, target: Path) -> bool:
        """Copy a file from it; False when there is none.

        Raises:
            StorageError: it may be there, and could not be read.

        """
        uri = self.uri_of(name)

        def transfer() -> bool:
            try:
                store_of(uri).read(uri, target)
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                return False
            return True

        return _tried(transfer, uri)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            StorageError: it could not be removed.

        """
        uri = self.uri_of(name)
        _tried(lambda: store_of(uri).remove(uri), uri)


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 as 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refusal(error: Exception) -> str | None:
    """Return what is wrong if only the job's owner can fix it; None if another try may succeed."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "does not exist: check the address"
    if isinstance(error, PermissionError) or status in (401, 403) or type(error).__name__ in DENIED:
        return "may not be accessed: check the credentials in podTemplate.env, or sign the address again"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "does not fit: the volume is full"
    if type(error).__name__ in UNUSABLE or status == 400:
        return f"cannot be used: {_in_short(error)}"
    return None


def _in_short(error: Exception) -> str:
    """Return an error's text without what a library adds for its own authors."""
    return " ".join(str(error).partition("Debug source")[0].split())[:300]


def _tried(transfer: Callable[[], T], uri: str) -> T:
    """Do a transfer, several times if it fails."""
    pause = PAUSE_SECONDS
    for number in range(1, TRIES + 1):
        try:
            return transfer()
        except StorageError:
            raise
        except Exception as error:
            # Storage libraries raise the errors of their transports; only a few of those need the user.
            refusal = _refusal(error)
            if refusal:
                raise StorageError(f"{redacted(uri)} {refusal}", refused=True) from error
            if number == TRIES:
                text = _in_short(error) or type(error).__name__
                raise StorageError(f"{redacted(uri)} could not be reached in {TRIES} tries: {text}", False) from error
            log.warning("%s: %s; trying again in %.0f s", redacted(uri), type(error).__name__, pause)
        time.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")
