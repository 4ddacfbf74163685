# SPDX-License-Identifier: AGPL-3.0-only
"""Prepare a job without a GPU: check it, and fetch what it names by URI.

What was found is written to `<output>/prepared.json`, so that it is done once: by `yolo-trainer prepare` in a pod of
its own, or by the first attempt. It is trusted only for the very same job, and an unchanged description of the data.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError
from yolo_trainer.inputs import label_cache
from yolo_trainer.inputs.batch_size import measure_need
from yolo_trainer.inputs.cache import Cache, Fetched
from yolo_trainer.inputs.conversion import convertible
from yolo_trainer.inputs.dataset import Dataset, Examined, examine_dataset
from yolo_trainer.inputs.dataset_locator import dataset_on_volume, find_dataset
from yolo_trainer.inputs.preparation_record import Prepared, read_record, write_record
from yolo_trainer.inputs.reference_checks import check_classes, check_references, check_weights_kept
from yolo_trainer.inputs.training_arguments import TrainingRequest, check_compiler, check_values
from yolo_trainer.inputs.weights import (
    WEIGHT_ARGUMENTS,
    check_model,
    check_weights,
    count_parameters,
    find_model,
)
from yolo_trainer.job import arguments
from yolo_trainer.job.spec import Job
from yolo_trainer.labelling.job_images import labelled
from yolo_trainer.outputs import exports
from yolo_trainer.outputs.finished_run import check_run, find_run
from yolo_trainer.storage import backends
from yolo_trainer.storage.transfer import RemoteFolder
from yolo_trainer.storage.volumes import check_room
from yolo_trainer.tracking.session import check_tracking
from yolo_trainer.training import offline
from yolo_trainer.training.checkpoint_store import CheckpointStore

log = logging.getLogger(__name__)

PROBE = ".writable"


def prepare(job: Job, dataset_limit_gib: int, seal: Callable[[], None] = offline.import_ultralytics) -> Prepared:
    """Check a job and fetch what it names, unless this was done before.

    Args:
        job: the job.
        dataset_limit_gib: the largest size that an archive may unpack to.
        seal: imports Ultralytics, which takes seconds: called when the cheap checks have passed.

    Raises:
        ConfigInvalidError: the job asks for something impossible.
        DatasetInvalidError: the data set cannot be trained on.
        TrainerError: something could not be fetched; another attempt may succeed.
        StorageError: `output.uri` cannot be written.

    """
    began = time.monotonic()
    check_weights(job)
    arguments.check_names(job.training.args)
    exports.check_formats(job.output.export)
    _make_output(job)
    found = read_record(job)
    if found is not None:
        log.info("Prepared before, in %.1f s; the checks are not repeated", found.seconds)
        _check_room(job, found)
        return found
    if job.output.uri is not None:
        _try_remote_output(job.output.path, RemoteFolder(job.output.uri))
    check_tracking(job)
    prepared = _prepared(job, Cache(job.cache_path, job.job.uid, dataset_limit_gib), seal)
    prepared = replace(prepared, seconds=round(time.monotonic() - began, 1))
    _check_room(job, prepared)
    write_record(job, prepared)
    return prepared


@dataclass(frozen=True)
class _Data:
    """A data set that passed our own checks."""

    examined: Examined
    described_by: Path
    home: Path
    """The folder that the user knows: the data set's own, or the one that holds its file."""
    users_own: bool
    """True where images are read where they are, and not from a copy."""


def _prepared(job: Job, cache: Cache, seal: Callable[[], None]) -> Prepared:
    """Do what takes time, cheap checks first."""
    run = find_run(job, cache) if job.resume_from is not None and not _has_checkpoint(job) else None
    names = {label_cache.working_folder(job.output.path): ""}
    fetched = cache.dataset(job.dataset) if job.dataset.uri is not None else None
    if fetched is not None:
        names[fetched.path] = f"{backends.name_of(job.dataset.uri or '')}/"
    with _with_users_paths(names):
        data = _checked_data(job, fetched, seal)
        dataset = data.examined.dataset
        _report(dataset)
        check_references(job, dataset, data.home)
        folders = (data.home, job.output.path, job.output.path / "weights", Path.cwd())
        model, args, transferred = _with_weights(job, cache, folders)
        check_weights_kept(job, model)
        if data.users_own and args.get("cache") == "disk":
            log.warning("training.args.cache is disk, which would write beside your images: they are not cached")
            args = {name: value for name, value in args.items() if name != "cache"}
        seal()
        check_model(model, job.task)
        arguments = TrainingRequest(job, dataset.folder, model, args, "cpu", 1).arguments()
        check_values(arguments)
        check_compiler(args)
        if run is not None:
            check_run(job, run, dataset)
        if job.mode == "Validate":
            check_classes(job, model, dataset)
        also = job.validation.split if job.validation is not None else None
        label_cache.read_as_ultralytics(data.examined, arguments, job.output.path, also)
    automatic = job.training.batch == "auto"
    need = measure_need(model, job.task, job.training.image_size, args) if automatic else None
    transferred += fetched.transferred if fetched is not None else 0
    return Prepared(dataset, model, args, data.described_by, need, count_parameters(model), transferred)


def _checked_data(job: Job, fetched: Fetched | None, seal: Callable[[], None]) -> _Data:
    """Find the data set, convert it where it has another format, and check it."""
    if fetched is not None:
        found = find_dataset(fetched.path, job.dataset.path, job.task)
    elif job.dataset.label is not None:
        found = labelled(job, seal)
    else:
        assert job.dataset.path is not None, "a job has a path where it has no URI"
        found = dataset_on_volume(job.dataset.path, job.task)
    args, place = job.training.args, found
    other = convertible(found, job.task)
    if other is not None:
        seal()
        place = other.convert(job.task, label_cache.working_folder(job.output.path) / "converted", args)
    splits = (job.split, *([job.validation.split] if job.validation is not None else []))
    examined = examine_dataset(place, job.task, bool(args.get("single_cls")), splits)
    return _Data(
        examined,
        other.described_by if other is not None else examined.dataset.source,
        found if found.is_dir() else found.parent,
        users_own=fetched is None and other is None and job.dataset.label is None,
    )


def _report(dataset: Dataset) -> None:
    log.info("Data set %s: %s", dataset.folder, ", ".join(f"{n} {split}" for split, n in dataset.images.items()))
    for sentence in dataset.unlabelled_sentences:
        log.warning("%s: they contain no objects", sentence)


def _with_weights(job: Job, cache: Cache, folders: tuple[Path, ...]) -> tuple[str, dict[str, Any], int]:
    """Find or fetch the model and the weights that arguments name; return them, and the bytes fetched."""
    named = {
        "model": job.model,
        **{name: job.training.args[name] for name in WEIGHT_ARGUMENTS if isinstance(job.training.args.get(name), str)},
    }
    files, transferred = {}, 0
    for name, value in named.items():
        if backends.is_uri(value):
            fetched = cache.file(value, name if name == "model" else f"training.args.{name}")
            transferred += fetched.transferred
            value = str(fetched.path)
        files[name] = find_model(value, folders)
    return files.pop("model"), {**job.training.args, **files}, transferred


def _check_room(job: Job, prepared: Prepared) -> None:
    """Check that the volume has room. If this job has trained on it already, a full volume costs only an attempt."""
    if job.mode != "Train" or _has_checkpoint(job):
        return
    output = job.output.path
    replaced = job.output.work_folder, job.output.checkpoint_folder
    check_room(output, prepared.parameters, prepared.args.get("optimizer"), replaced)


def _has_checkpoint(job: Job) -> bool:
    return CheckpointStore(job.output.checkpoint_folder, job.output.work_folder, job.job.uid).owned


@contextmanager
def _with_users_paths(names: Mapping[Path, str]) -> Iterator[None]:
    """Replace the trainer's own folders in error messages by the names that the user knows."""
    try:
        yield
    except DatasetInvalidError as error:
        text = str(error)
        for folder, name in names.items():
            for path in (folder, folder.resolve()):
                text = text.replace(f"{path}/", name)
        raise DatasetInvalidError(text) from error


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
    """Check that results can be published, before a training run is spent on them. Raises StorageError."""
    probe = output / PROBE
    probe.write_text("The trainer has seen that it can write here.\n")
    try:
        remote.put(probe, PROBE)
        remote.remove(PROBE)
    finally:
        probe.unlink()
