# SPDX-License-Identifier: AGPL-3.0-only
"""All that can be done for a job before it has a GPU: checks, and bringing what it names by URI.

What was found is written to `<output>/prepared.json`, so that it is done once: by `yolo-trainer prepare` in a pod of
its own, or by the first attempt. It is trusted only for the very same job, and an unchanged description of the data.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from yolo_trainer import arguments, exports, offline, stores
from yolo_trainer.batch import Need, measure_need
from yolo_trainer.checkpoints import write_whole
from yolo_trainer.dataset import Dataset, check_dataset
from yolo_trainer.fetch import Cache
from yolo_trainer.job import Job
from yolo_trainer.layout import find_dataset
from yolo_trainer.model import WEIGHT_ARGUMENTS, WEIGHTS, check_model, find_model
from yolo_trainer.outcome import ConfigInvalidError
from yolo_trainer.request import Request, check_values
from yolo_trainer.storage import RemoteFolder

log = logging.getLogger(__name__)

RECORD = "prepared.json"
PROBE = ".writable"


@dataclass(frozen=True)
class Prepared:
    """A job that passed its checks, with everything at hand."""

    dataset: Dataset
    model: str
    """What Ultralytics takes as `model`."""
    args: dict[str, Any]
    """`training.args`, with every weight file found."""
    need: Need | None = None
    """GPU memory that the training needs; where the batch is `auto`."""
    transferred: int = 0
    """Bytes that were fetched."""
    seconds: float = 0.0
    """How long that and the checks took."""


def prepare(job: Job, dataset_limit_gib: int, seal: Callable[[], None] = offline.seal) -> Prepared:
    """Check a job and fetch what it names, or find that this was done before.

    Args:
        job: the job.
        dataset_limit_gib: the most that an archive may unpack to.
        seal: imports Ultralytics, which takes seconds: called when the cheap checks have passed.

    Raises:
        ConfigInvalidError: the job asks for what cannot be.
        DatasetInvalidError: the data set cannot be trained on.
        TrainerError: something could not be fetched, and may be later.
        StorageError: `output.uri` cannot be written.

    """
    began = time.monotonic()
    arguments.check_names(job.training.args)
    exports.check_formats(job.output.export)
    _make_output(job)
    found = _earlier(job)
    if found is not None:
        log.info("Prepared before, in %.1f s; not checked again", found.seconds)
        return found
    if job.output.uri is not None:
        _try_remote_output(job.output.path, RemoteFolder(job.output.uri))
    prepared = _prepared(job, Cache(job.cache_path, job.job.uid, dataset_limit_gib), seal)
    prepared = replace(prepared, seconds=round(time.monotonic() - began, 1))
    _remember(job, prepared)
    return prepared


def _prepared(job: Job, cache: Cache, seal: Callable[[], None]) -> Prepared:
    """Do what costs time: cheap checks first."""
    transferred, place = 0, job.dataset.path
    if job.dataset.uri is not None:
        fetched = cache.dataset(job.dataset)
        transferred += fetched.transferred
        place = find_dataset(fetched.path, job.dataset.path, job.task)
    assert place is not None, "a job has a path where it has no URI"
    dataset = check_dataset(place, job.task, bool(job.training.args.get("single_cls")))
    log.info("Data set %s: %s", dataset.folder, ", ".join(f"{n} {split}" for split, n in dataset.images.items()))
    _check_places(job, dataset)
    folders = (dataset.folder, job.output.path, job.output.path / "weights", Path.cwd())
    named = {
        "model": job.model,
        **{name: job.training.args[name] for name in WEIGHT_ARGUMENTS if isinstance(job.training.args.get(name), str)},
    }
    files = {}
    for name, value in named.items():
        if stores.is_uri(value):
            fetched = cache.file(value, name if name == "model" else f"training.args.{name}")
            transferred += fetched.transferred
            value = str(fetched.path)
        files[name] = find_model(value, folders)
    model, args = files.pop("model"), {**job.training.args, **files}
    seal()
    check_model(model, job.task)
    check_values(Request(job, dataset.folder, model, args, "cpu", 1).arguments())
    automatic = job.training.batch == "auto"
    need = measure_need(model, job.task, job.training.image_size, args) if automatic else None
    return Prepared(dataset, model, args, need, transferred)


def _check_places(job: Job, dataset: Dataset) -> None:
    split = job.training.args.get("split", "val")
    if split not in dataset.images:
        raise ConfigInvalidError(f"training.args.split is {split}, and the data set has {', '.join(dataset.images)}")
    wanted = job.training.args.get("classes")
    for number in wanted if isinstance(wanted, list) else [wanted]:
        if isinstance(number, int) and not 0 <= number < dataset.classes:
            raise ConfigInvalidError(
                f"training.args.classes has {number}, and the data set's classes go from 0 to {dataset.classes - 1}"
            )
    if job.output.path.resolve() == dataset.folder.resolve():
        raise ConfigInvalidError(
            f"output.path is the data set's own folder {job.output.path}: give the results another one"
        )


def _make_output(job: Job) -> None:
    output = job.output.path
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / PROBE
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigInvalidError(
            f"output.path {output} cannot be written by user {os.getuid()} ({error.strerror}): check the volume's "
            "permissions (fsGroup) and its free space"
        ) from error


def _try_remote_output(output: Path, remote: RemoteFolder) -> None:
    """See that results can be published, before a training is spent on them. Raises StorageError."""
    probe = output / PROBE
    probe.write_text("The trainer has seen that it can write here.\n")
    try:
        remote.put(probe, PROBE)
        remote.remove(PROBE)
    finally:
        probe.unlink()


def _remember(job: Job, prepared: Prepared) -> None:
    record = _Record(fingerprint=_fingerprint(job, prepared.dataset.source), prepared=prepared)
    write_whole(job.output.path / RECORD, record.model_dump_json().encode())


def _earlier(job: Job) -> Prepared | None:
    """Return what was prepared before for this very job, if it is all still there."""
    try:
        record = _Record.model_validate_json((job.output.path / RECORD).read_bytes())
        found = record.prepared
        current = _fingerprint(job, found.dataset.source)
    except (OSError, ValidationError):
        return None
    files = [value for name, value in found.args.items() if name in WEIGHT_ARGUMENTS and isinstance(value, str)]
    if stores.is_uri(job.model) or found.model.endswith(WEIGHTS):
        files.append(found.model)
    there = found.dataset.folder.is_dir() and all(Path(file).is_file() for file in files)
    complete = found.need is not None or job.training.batch != "auto"
    return found if there and complete and record.fingerprint == current else None


def _fingerprint(job: Job, source: Path) -> str:
    """Return a digest of what was checked: the job's fields, and the state of the data set's description."""
    fields = job.model_dump_json(
        include={"job": True, "model": True, "task": True, "dataset": True, "training": True, "output": {"export"}},
        exclude={"training": {"batch"}},
    )
    state = source.stat()
    return hashlib.sha256(f"{fields}{state.st_mtime_ns}{state.st_size}".encode()).hexdigest()


class _Record(BaseModel):
    """The content of `prepared.json`."""

    fingerprint: str
    prepared: Prepared
