# SPDX-License-Identifier: AGPL-3.0-only
"""Fetch what a job names by URI into a cache, once: checked against its sha256, and put there in one step.

    <cache>/datasets/<key>/          a data set, unpacked
    <cache>/weights/<key>/<name>     a file that `model` or a training argument names

What has a sha256 is the same for every job, and its key comes from that. What has none may change behind its URI, so
its key comes from the URI and the job: all attempts of a job see the same.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError, TrainerError
from yolo_trainer.job.spec import DatasetReference
from yolo_trainer.storage import backends, transfer
from yolo_trainer.storage.archive import is_archive, unpack

log = logging.getLogger(__name__)

GIB = 2**30
MIB = 2**20
HASH_IN_FRAGMENT = "sha256="


@dataclass(frozen=True)
class Fetched:
    """What was fetched. `transferred` counts bytes; 0 if it was in the cache."""

    path: Path
    transferred: int


class Cache:
    """The cache, as one job sees it."""

    def __init__(self, folder: Path, job_uid: str, limit_gib: int) -> None:
        """Prepare a cache; `limit_gib` is the largest size that a data set may unpack to."""
        self._folder = folder
        self._uid = job_uid
        self._limit = limit_gib * GIB

    def dataset(self, wanted: DatasetReference) -> Fetched:
        """Return the folder that a data set's URI leads to, unpacked; one file that is no archive is put into it.

        Raises:
            DatasetInvalidError: it is not there, may not be read, has another sha256, or is no archive to be unpacked.
            TrainerError: it could not be reached, or the cache cannot be written; another attempt may succeed.

        """
        uri = wanted.uri or ""
        place = self._folder / "datasets" / self._key(uri, wanted.sha256)

        def fill(folder: Path) -> int:
            name = backends.name_of(uri)
            if uri.endswith("/"):
                return transfer.fetch_folder(uri, folder)
            if not is_archive(name):
                size = transfer.fetch_file(uri, folder / name)
                _check_hash(folder / name, wanted.sha256, uri)
                return size
            archive = folder.with_name(f"{folder.name}.{name}")
            try:
                size = transfer.fetch_file(uri, archive)
                _check_hash(archive, wanted.sha256, uri)
                unpacked = unpack(archive, folder, self._limit, name)
                log.info("Unpacked %s: %d MiB", name, unpacked // MIB)
            finally:
                archive.unlink(missing_ok=True)
            return size

        try:
            return self._filled(place, fill, uri)
        except backends.StorageError as error:
            if error.refused:
                raise DatasetInvalidError(f"dataset.uri {error}") from error
            raise TrainerError(f"dataset.uri {error}") from error
        except _HashError as error:
            raise DatasetInvalidError(f"dataset.uri {error}; correct dataset.sha256, or the file") from error

    def file(self, uri: str, field: str) -> Fetched:
        """Return a copy of the file behind a URI, which may end in `#sha256=<hex>`; `field` named it.

        Raises:
            ConfigInvalidError: it is not there, may not be read, or has another sha256.
            TrainerError: it could not be reached, or the cache cannot be written; another attempt may succeed.

        """
        address, _, fragment = uri.partition("#")
        if fragment and not fragment.startswith(HASH_IN_FRAGMENT):
            raise ConfigInvalidError(f"{field}: '#{fragment}' must be '#{HASH_IN_FRAGMENT}' and 64 hexadecimal digits")
        if backends.scheme_of(address) not in backends.READABLE:
            raise ConfigInvalidError(f"{field} is {backends.redacted(uri)}: use {', '.join(backends.READABLE)}")
        wanted = fragment.removeprefix(HASH_IN_FRAGMENT) or None
        name = backends.name_of(address)
        place = self._folder / "weights" / self._key(address, wanted)

        def fill(folder: Path) -> int:
            size = transfer.fetch_file(address, folder / name)
            _check_hash(folder / name, wanted, address)
            return size

        try:
            fetched = self._filled(place, fill, address)
        except backends.StorageError as error:
            if error.refused:
                raise ConfigInvalidError(f"{field} {error}") from error
            raise TrainerError(f"{field} {error}") from error
        except _HashError as error:
            raise ConfigInvalidError(f"{field} {error}; correct the digits after '#', or the file") from error
        return Fetched(place / name, fetched.transferred)

    def _key(self, uri: str, sha256: str | None) -> str:
        return sha256.lower()[:32] if sha256 else _digest(f"{self._uid}\n{uri}")

    def _filled(self, place: Path, fill: Callable[[Path], int], uri: str) -> Fetched:
        """Return `place`, filled in one step: by an earlier attempt, or by `fill` in a folder beside it."""
        if place.is_dir():
            log.info("%s is in the cache", backends.redacted(uri))
            return Fetched(place, 0)
        # A job has one attempt at a time, so unfinished files of an earlier attempt can be removed.
        temporary = place.with_name(f".{place.name}-{_digest(self._uid)[:8]}")
        began = time.monotonic()
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            size = fill(temporary)
            _put_in_place(temporary, place)
        except OSError as error:
            raise TrainerError(
                f"{backends.redacted(uri)} cannot be kept in the cache {self._folder}: {error}"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        log.info("Fetched %s: %.1f MiB in %.1f s", backends.redacted(uri), size / MIB, time.monotonic() - began)
        return Fetched(place, size)


class _HashError(Exception):
    """The fetched file has another sha256."""


def _check_hash(file: Path, wanted: str | None, uri: str) -> None:
    if wanted is None:
        return
    found = transfer.sha256_of(file)
    if found != wanted.lower():
        raise _HashError(f"{backends.redacted(uri)} has the sha256 {found}, and the job asks for {wanted.lower()}")


def _put_in_place(temporary: Path, place: Path) -> None:
    try:
        temporary.rename(place)
    except OSError:
        if not place.is_dir():  # else another job has just fetched the same
            raise


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
