# SPDX-License-Identifier: AGPL-3.0-only
"""Continue a finished run for more epochs (`resumeFrom`), from the checkpoint that it kept (`output.keepCheckpoint`).

The finished run is only read. Its snapshot becomes the first checkpoint of the new job, with the new job's arguments in
it: Ultralytics takes `epochs` and most other arguments of a resumed training from the checkpoint.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.cache import Cache
from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.inputs.image_lists import class_images
from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.manifest import Manifest
from yolo_trainer.outputs.publish import MANIFEST
from yolo_trainer.storage import backends
from yolo_trainer.storage.sealed_file import copy_content, is_intact
from yolo_trainer.training.checkpoint_file import Course, Snapshot, read_snapshot, write_snapshot
from yolo_trainer.training.checkpoint_store import BEST, OWNER, RESULTS, RESUME, CheckpointStore, owner_of

log = logging.getLogger(__name__)

_CHOSEN = ("optimizer", "lr0", "warmup_bias_lr")
"""Arguments that Ultralytics sets itself with `optimizer: auto`."""
_CHECKPOINT = (f"checkpoint/{RESUME}", f"checkpoint/{BEST}")
_SHAPE = ("kpt_shape", "channels")
"""Fields of a data set's description that decide the shape of the weights, besides the classes."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that can be continued."""

    snapshot: Path
    best: Path
    results: Path
    epochs: int

    def read(self) -> Snapshot:
        """Return the last snapshot.

        Raises:
            ConfigInvalidError: it cannot be read.

        """
        try:
            return read_snapshot(self.snapshot)
        except OSError:
            raise
        except Exception as error:
            # Whatever is wrong with the content of the file: another attempt reads the same.
            raise ConfigInvalidError(f"resumeFrom: the checkpoint {self.snapshot} cannot be read: {error}") from error


def find_run(job: Job, cache: Cache) -> FinishedRun:
    """Return the finished run that a job continues; what a URI names is fetched into the cache.

    Raises:
        ConfigInvalidError: there is none, it kept no checkpoint, or the job cannot continue it.
        TrainerError: it could not be fetched; another attempt may succeed.

    """
    source = job.resume_from or ""
    _check_apart(job, source)
    manifest = _manifest(source, cache)
    _check_fits(job, manifest, backends.redacted(source))
    snapshot, best, results = (_file(source, name, cache) for name in (*_CHECKPOINT, RESULTS))
    owner = owner_of(_file(source, f"checkpoint/{OWNER}", cache))
    if owner != manifest.job.get("uid") or not is_intact(snapshot) or not results.is_file():
        damaged = f"the checkpoint {snapshot}" if results.is_file() else str(results)
        raise ConfigInvalidError(
            f"resumeFrom: {damaged} is missing, damaged or of a later job. Begin a new training from the weights of "
            f"that run: model: {_last_weights(source)}, without resumeFrom"
        )
    return FinishedRun(snapshot, best, results, manifest.epochs)


def check_run(job: Job, run: FinishedRun, dataset: Dataset) -> None:
    """Check that a run can be continued with a job's arguments and on its data. Needs PyTorch.

    Raises:
        ConfigInvalidError: optimizer, classes or the shape of the data differ.

    """
    import torch

    checkpoint = torch.load(BytesIO(run.read().checkpoint), map_location="cpu", weights_only=False)
    used, wanted = str(checkpoint["train_args"]["optimizer"]), str(job.training.args.get("optimizer", "auto"))
    if wanted.lower() not in ("auto", used.lower()):
        raise ConfigInvalidError(
            f"training.args.optimizer is {wanted}, and the run in resumeFrom was trained with {used}, which is "
            "continued: leave the argument out"
        )
    problem = _difference(checkpoint["ema"], dataset, bool(job.training.args.get("single_cls")))
    if problem is not None:
        raise ConfigInvalidError(
            f"resumeFrom: {problem}. Continue the run on data with the same classes and shape, or begin a new training "
            f"from its weights: model: {_last_weights(job.resume_from or '')}, without resumeFrom"
        )


def begin_from(run: FinishedRun, request: TrainingRequest, store: CheckpointStore) -> None:
    """Make the finished run's snapshot the first checkpoint of a job, and its figures the first rows of results.csv.

    Raises:
        ConfigInvalidError: the snapshot cannot be read.
        OSError: the volume is full or cannot be written.

    """
    import torch

    snapshot, weights = run.read(), request.work / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    checkpoint = torch.load(BytesIO(snapshot.checkpoint), map_location="cpu", weights_only=False)
    checkpoint["train_args"] = _arguments(request, checkpoint["train_args"])
    torch.save(checkpoint, weights / "last.pt")
    best = weights / "best.pt" if is_intact(run.best) else None
    if best is not None:
        copy_content(run.best, best)
    shutil.copyfile(run.results, request.work / RESULTS)
    course = Course(snapshot.course.epochs)  # its time limit counts the seconds of this job alone
    store.save(lambda target: write_snapshot(target, course, weights / "last.pt", snapshot.state), best)
    log.info(
        "Continuing the run in %s, which has %d epochs", backends.redacted(request.job.resume_from or ""), run.epochs
    )


def _arguments(request: TrainingRequest, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new job's arguments; what `optimizer: auto` chose for the finished run stays."""
    from ultralytics.cfg import get_cfg

    arguments = request.arguments()
    if str(arguments.get("optimizer", "auto")).lower() == "auto":
        arguments |= {name: earlier[name] for name in _CHOSEN}
    return dict(vars(get_cfg(overrides=arguments)))


def _check_apart(job: Job, source: str) -> None:
    """Refuse to write into the folder of the finished run."""
    output = job.output
    within = (
        output.uri is not None and f"{output.uri.rstrip('/')}/".startswith(f"{source.rstrip('/')}/")
        if backends.is_uri(source)
        else output.path.resolve().is_relative_to(Path(source).resolve())
    )
    if within:
        raise ConfigInvalidError(
            f"resumeFrom {backends.redacted(source)} is the output folder of this job, or holds it; the finished run "
            "is not written to: give output another folder"
        )


def _manifest(source: str, cache: Cache) -> Manifest:
    file = _file(source, MANIFEST, cache)
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigInvalidError(
            f"resumeFrom {backends.redacted(source)} holds no finished run: {MANIFEST} is missing or damaged. Name the "
            "output folder of a job that has completed"
        ) from error


def _check_fits(job: Job, manifest: Manifest, source: str) -> None:
    """Check that the job trains the same model and task as the finished run, and for more epochs."""
    model = backends.redacted(job.model) if backends.is_uri(job.model) else job.model
    for field, wanted, found in (("model", model, manifest.model), ("task", job.task, manifest.task)):
        if wanted != found:
            raise ConfigInvalidError(
                f"{field} is {wanted}, and the run in resumeFrom {source} trained {found}: give {field}: {found}"
            )
    if not manifest.checkpoint_kept:
        raise ConfigInvalidError(
            f"the run in resumeFrom {source} kept no checkpoint. Set output.keepCheckpoint: true in the job that "
            "trains, to continue it later; or begin a new training from its weights: "
            f"model: {_last_weights(source)}, without resumeFrom"
        )
    if job.training.epochs <= manifest.epochs:
        raise ConfigInvalidError(
            f"training.epochs is {job.training.epochs}, and the run in resumeFrom {source} has {manifest.epochs} "
            f"already. training.epochs is the total: give more than {manifest.epochs}"
        )


def _difference(model: Any, dataset: Dataset, single_class: bool) -> str | None:
    """Say how classes or shape of the data set differ from those of the finished run; None if they do not."""
    before = list(getattr(model, "names", {}).values())
    now = before[:1] if single_class else _class_names(dataset)
    if len(before) != len(now):
        return f"the data set has {len(now)} classes, and the run was trained on {len(before)}"
    changed = next((number for number, (old, new) in enumerate(zip(before, now, strict=True)) if old != new), None)
    if changed is not None:
        return f"class {changed} of the data set is {now[changed]}, and was {before[changed]} in the run"
    for name in _SHAPE:
        old, new = model.yaml.get(name), (dataset.description or {}).get(name)
        if old is not None and new is not None and _plain(old) != _plain(new):
            return f"{name} of the data set is {new}, and was {old} in the run"
    return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _class_names(dataset: Dataset) -> list[str]:
    if dataset.description is None:
        return sorted(class_images(Path(dataset.splits["train"][0])))
    names = dataset.description.get("names")
    return [f"class_{number}" for number in range(dataset.classes)] if names is None else list(names)


def _file(source: str, name: str, cache: Cache) -> Path:
    if not backends.is_uri(source):
        return Path(source) / name
    return cache.file(f"{source.rstrip('/')}/{name}", "resumeFrom").path


def _last_weights(source: str) -> str:
    return f"{backends.redacted(source).rstrip('/')}/weights/last.pt"
