# SPDX-License-Identifier: AGPL-3.0-only
"""Publish a finished run's files, so that no reader takes a part of a run for all of it.

`manifest.json` exists only while every file that it names exists, with the sha256 in the manifest. On a volume, the
files are moved out of `<output>/work`; a journal in that folder lets the next attempt finish a publication that was cut
short, without a GPU. Behind a URI, the files are copied, the manifest last.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from yolo_trainer.errors import TrainerError
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import Manifest, PublishedFile
from yolo_trainer.storage.atomic_file import fsync, write_atomically
from yolo_trainer.storage.transfer import RemoteFolder, sha256_of

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
JOURNAL = "publication.json"
M = TypeVar("M", bound=BaseModel)


class _Journal(BaseModel):
    """A publication that has begun. `stale` are files of an older run, which the new one does not have."""

    manifest: Manifest
    stale: list[str]


class Volume:
    """The results in a job's output folder."""

    def __init__(self, output: Path, work: Path) -> None:
        self._output = output
        self._work = work

    def published(self, job_uid: str) -> Manifest | None:
        """Return this job's manifest if its results are published; finish a publication that an earlier attempt began.

        Raises:
            OSError: the volume cannot be read or written.

        """
        journal = _read(self._work / JOURNAL, _Journal)
        if journal is not None and journal.manifest.job.get("uid") == job_uid:
            log.info("Finishing the publication that an earlier attempt began")
            self._finish(journal)
        manifest = _read(self._output / MANIFEST, Manifest)
        if manifest is None or manifest.job.get("uid") != job_uid:
            return None
        return manifest if self._is_intact(manifest) else None

    def publish(self, manifest: Manifest) -> Manifest:
        """Publish every file of the work folder, and return the manifest with their names.

        Raises:
            OSError: the volume is full or cannot be written; a later attempt continues.

        """
        files = sorted(file for file in self._work.rglob("*") if file.is_file() and file.name != JOURNAL)
        listed = {str(file.relative_to(self._work)): _described(file) for file in files}
        whole = manifest.model_copy(update={"files": listed})
        for file in files:
            fsync(file)
        old = _read(self._output / MANIFEST, Manifest)
        journal = _Journal(manifest=whole, stale=sorted(set(old.files if old else ()) - listed.keys()))
        write_atomically(self._work / JOURNAL, journal.model_dump_json().encode())
        self._finish(journal)
        return whole

    def add(self, manifest: Manifest, names: Sequence[str]) -> Manifest:
        """Publish further files of the run that is published, and return the manifest with them.

        The files that the manifest on the volume names stay, so it is correct until the new one is written.

        Raises:
            OSError: the volume is full or cannot be written; a later attempt makes them again.

        """
        added = {name: _described(self._work / name) for name in names}
        for name in names:
            fsync(self._work / name)
            (self._output / name).parent.mkdir(parents=True, exist_ok=True)
            (self._work / name).replace(self._output / name)
        whole = manifest.model_copy(update={"files": {**manifest.files, **added}})
        old = _read(self._output / MANIFEST, Manifest)
        if old is not None and old.job == whole.job:  # else the results are behind the URI only
            write_atomically(self._output / MANIFEST, _pretty(whole))
        return whole

    def _finish(self, journal: _Journal) -> None:
        """Do the remaining steps of a publication; each may be repeated."""
        (self._output / MANIFEST).unlink(missing_ok=True)
        for name in journal.stale:
            (self._output / name).unlink(missing_ok=True)
        for name in journal.manifest.files:
            source, target = self._work / name, self._output / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        write_atomically(self._output / MANIFEST, _pretty(journal.manifest))
        shutil.rmtree(self._work)

    def _is_intact(self, manifest: Manifest) -> bool:
        for name, file in manifest.files.items():
            place = self._output / name
            if not place.is_file() or place.stat().st_size != file.bytes or sha256_of(place) != file.sha256:
                log.warning("%s names %s, which is missing or changed: the job is trained again", MANIFEST, name)
                return False
        return True


class Publisher:
    """Publishes a job's results: on the volume, and behind `output.uri` where one is given."""

    def __init__(self, job: Job, work: Path, remote: RemoteFolder | None, scratch: Path) -> None:
        self._job = job
        self._volume = Volume(job.output.path, work)
        self._remote = remote
        self._copy = scratch / MANIFEST

    def find_published(self) -> Manifest | None:
        """Return the manifest of this job's results where they are published already.

        Raises:
            OSError: the volume cannot be read or written.
            StorageError: the place behind the URI cannot.

        """
        manifest = self._volume.published(self._job.job.uid)
        if manifest is not None:
            self._publish_remotely(manifest)
            return manifest
        there = self._remote_manifest()
        return there if there is not None and there.job.get("uid") == self._job.job.uid else None

    def publish(self, manifest: Manifest) -> Manifest:
        """Publish the files in the work folder, and return the manifest with the files' names.

        Raises:
            OSError: the volume is full or cannot be written; a later attempt continues.
            StorageError: the results are on the volume, but could not be copied to the URI.

        """
        whole = self._volume.publish(manifest)
        self._publish_remotely(whole)
        return whole

    def add(self, manifest: Manifest, names: Sequence[str] = ()) -> Manifest:
        """Publish further files of the published run from the work folder, and return the manifest with their names.

        Raises:
            OSError: the volume is full or cannot be written; a later attempt makes them again.
            StorageError: they could not be copied to the URI.

        """
        whole = self._volume.add(manifest, names)
        self._publish_remotely(whole)
        return whole

    def copy_to(self, manifest: Manifest, name: str, target: Path) -> None:
        """Copy a published file to `target`, from the volume or else from the URI.

        Raises:
            OSError: the volume is full or cannot be written.
            TrainerError: the file is at neither place.
            StorageError: the place behind the URI cannot be read.

        """
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self._job.output.path / name
        if source.is_file() and _described(source) == manifest.files.get(name):
            shutil.copyfile(source, target)
        elif self._remote is None or not self._remote.get(name, target):
            raise TrainerError(f"{source} is missing or changed: create the job again to train it again")

    def location(self, name: str) -> str:
        """Return where a published file is, for the termination message."""
        return self._remote.uri_of(name) if self._remote else str(self._job.output.path / name)

    def _publish_remotely(self, manifest: Manifest) -> None:
        if self._remote is None:
            return
        old = self._remote_manifest()
        if old == manifest:
            return
        new = set(manifest.files)
        if old is not None and old.job == manifest.job and old.files.items() <= manifest.files.items():
            new -= old.files.keys()  # the same run, with more files
        elif old is not None:
            self._remote.remove(MANIFEST)
            for name in sorted(old.files.keys() - manifest.files.keys()):
                self._remote.remove(name)
        for name in sorted(new):
            self._remote.put(self._job.output.path / name, name)
        self._copy.write_bytes(_pretty(manifest))
        self._remote.put(self._copy, MANIFEST)
        log.info("Published %d files to %s", len(new) + 1, self._remote.shown)

    def _remote_manifest(self) -> Manifest | None:
        if self._remote is None or not self._remote.get(MANIFEST, self._copy):
            return None
        return _read(self._copy, Manifest)


def _described(file: Path) -> PublishedFile:
    return PublishedFile(bytes=file.stat().st_size, sha256=sha256_of(file))


def _read(file: Path, kind: type[M]) -> M | None:
    try:
        return kind.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("%s is not what a trainer writes, and is ignored: %s", file, error.errors()[0]["msg"])
        return None


def _pretty(manifest: Manifest) -> bytes:
    return json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False).encode()
