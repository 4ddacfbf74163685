# SPDX-License-Identifier: AGPL-3.0-only
"""The backends of URIs: `https` and `http` through fsspec, `s3` and `gs` through obstore, and `file`.

obstore takes credentials from its own environment variables (`AWS_…`, `GOOGLE_…`). Its fsspec interface is not
used, since it reads whole files into memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

OBJECT_STORES = ("s3", "gs")
WEB = ("https", "http")
READABLE = (*WEB, *OBJECT_STORES, "file")
WRITABLE = (*OBJECT_STORES, "file")
"""Schemes of places that results can be published to."""

CHUNK = 2**20


class StorageError(Exception):
    """A transfer that failed for good, as a sentence. `refused` says that trying again would not help."""

    def __init__(self, message: str, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


def is_uri(text: str) -> bool:
    """Say whether a text is a URI and not a path."""
    return "://" in text


def scheme_of(uri: str) -> str:
    """Return a URI's scheme in lower case."""
    return urlsplit(uri).scheme.lower()


def name_of(uri: str) -> str:
    """Return the last part of a URI's path: `digits.tar.gz`."""
    return urlsplit(uri).path.rstrip("/").rpartition("/")[2]


def redacted(uri: str) -> str:
    """Return a URI without its query and without a password: signed URIs must not get into logs and status."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class Store(Protocol):
    """Where files are. Errors are those of the library behind it."""

    def read(self, uri: str, target: Path) -> None:
        """Copy a file to `target`."""

    def names(self, folder: str) -> Iterable[str]:
        """Return the names of all files below a folder, relative to it."""

    def write(self, file: Path, uri: str) -> None:
        """Write a copy of a file, which other readers see whole or not at all."""

    def remove(self, uri: str) -> None:
        """Remove a file, if it is there."""


class _Local:
    """`file://`: a folder that is mounted, such as a volume."""

    def read(self, uri: str, target: Path) -> None:
        shutil.copyfile(_local(uri), target)

    def names(self, folder: str) -> Iterable[str]:
        root = _local(folder)
        return [str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()]

    def write(self, file: Path, uri: str) -> None:
        target = _local(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(file, temporary)
        temporary.replace(target)

    def remove(self, uri: str) -> None:
        _local(uri).unlink(missing_ok=True)


class _Web:
    """`https://` and `http://`: single files, to be read."""

    def read(self, uri: str, target: Path) -> None:
        import fsspec
        from aiohttp import ClientTimeout

        # A server may take all the time it needs, but not fall silent.
        settings = {"timeout": ClientTimeout(total=None, sock_connect=30, sock_read=60)}
        fsspec.filesystem("http", encoded=True, client_kwargs=settings).get_file(uri, str(target))

    def names(self, folder: str) -> Iterable[str]:
        raise StorageError(f"{redacted(folder)}/ is a folder, and a web server has none: give an archive", refused=True)

    def write(self, file: Path, uri: str) -> None:
        raise StorageError(f"{redacted(uri)} cannot be written: publish to {', '.join(WRITABLE)}", refused=True)

    def remove(self, uri: str) -> None:
        raise StorageError(f"{redacted(uri)} cannot be removed: publish to {', '.join(WRITABLE)}", refused=True)


class _Objects:
    """`s3://` and `gs://`."""

    def read(self, uri: str, target: Path) -> None:
        import obstore

        store, path = self._open(uri)
        with target.open("wb") as file:
            for chunk in obstore.get(store, path).stream(min_chunk_size=CHUNK):
                file.write(chunk)

    def names(self, folder: str) -> Iterable[str]:
        import obstore

        store, path = self._open(folder)
        prefix = f"{path}/" if path else None
        for batch in obstore.list(store, prefix):
            for found in batch:
                name = found["path"].removeprefix(prefix or "")
                if name and not name.endswith("/"):  # consoles make an empty object for each folder
                    yield name

    def write(self, file: Path, uri: str) -> None:
        import obstore

        store, path = self._open(uri)
        obstore.put(store, path, file)

    def remove(self, uri: str) -> None:
        import obstore

        store, path = self._open(uri)
        obstore.delete(store, path)

    def _open(self, uri: str) -> tuple[ObjectStore, str]:
        from obstore.store import from_url

        bucket, _, path = uri.partition("://")[2].partition("/")
        # The default of 30 s counts for a whole transfer; here a server may only not fall silent.
        limits: ClientConfig = {
            "allow_http": True,  # where the endpoint's own address says so
            "timeout": timedelta(days=7),
            "connect_timeout": timedelta(seconds=30),
            "read_timeout": timedelta(seconds=60),
        }
        retries: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
        return from_url(f"{scheme_of(uri)}://{bucket}", client_options=limits, retry_config=retries), path


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def store_of(uri: str) -> Store:
    """Return the store of a URI."""
    scheme = scheme_of(uri)
    if scheme in OBJECT_STORES:
        return _Objects()
    return _Web() if scheme in WEB else _Local()
