# SPDX-License-Identifier: AGPL-3.0-only
"""Drives one Ultralytics training, from its checkpoint if there is one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_trainer.checkpoints import CheckpointStore
from yolo_trainer.continuity import KEY, Continuity
from yolo_trainer.display import bar
from yolo_trainer.interruption import Interruption
from yolo_trainer.job import Job, Task
from yolo_trainer.outcome import ConfigInvalidError
from yolo_trainer.progress import Progress, ProgressTracker, Stage
from yolo_trainer.results import metrics_of, sentence

log = logging.getLogger(__name__)

OPTIMIZERS = ("auto", "SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
SHARED_MEMORY_FOR_WORKERS = 512 * 2**20
"""Bytes of /dev/shm from which data-loading processes are used: batches pass through it, and a pod has 64 MiB."""
MOST_WORKERS = 8


@dataclass(frozen=True)
class Request:
    """What is trained, after all checks."""

    job: Job
    data: Path
    model: str
    args: Mapping[str, Any]
    """`training.args`, with every weight file found."""
    torch_device: str
    batch: int

    @property
    def work(self) -> Path:
        """The folder that Ultralytics writes to."""
        return work_folder(self.job.output.path)

    def arguments(self) -> dict[str, Any]:
        """Return Ultralytics' arguments: the job's own, and those that the job's other fields decide."""
        training = self.job.training
        return {
            "workers": default_workers(self.torch_device, _shared_memory(), len(os.sched_getaffinity(0))),
            **self.args,
            "mode": "train",
            "task": self.job.task,
            "model": self.model,
            "data": str(self.data),
            "epochs": training.epochs,
            "imgsz": training.image_size,
            "batch": self.batch,
            "patience": training.patience,
            "seed": training.seed,
            "device": self.torch_device,
            "save": True,
            "save_dir": str(self.work),
        }


def work_folder(output: Path) -> Path:
    """Return where a run's files lie until it is complete."""
    return output / "work"


def default_workers(torch_device: str, shared_memory: int, cpus: int) -> int:
    """Return how many data-loading processes suit: none on a CPU, which is busy enough, or with little /dev/shm."""
    if torch_device == "cpu" or shared_memory < SHARED_MEMORY_FOR_WORKERS:
        return 0
    return min(MOST_WORKERS, cpus)


def check_values(arguments: Mapping[str, Any]) -> None:
    """Let Ultralytics judge the arguments' values.

    Raises:
        ConfigInvalidError: a value of the wrong type or outside its range.

    """
    from ultralytics.cfg import get_cfg

    try:
        get_cfg(overrides=dict(arguments))
    except (TypeError, ValueError, SyntaxError) as error:
        raise ConfigInvalidError(f"training.args: {' '.join(str(error).split())}") from error
    optimizer = str(arguments.get("optimizer", "auto"))
    if optimizer.lower() not in {name.lower() for name in OPTIMIZERS}:
        raise ConfigInvalidError(f"training.args.optimizer is {optimizer}; it must be one of {', '.join(OPTIMIZERS)}")


class Training:
    """One training, observed and interruptible."""

    def __init__(
        self,
        request: Request,
        store: CheckpointStore,
        tracker: ProgressTracker,
        interruption: Interruption,
        show: Callable[[Progress], None] | None = None,
    ) -> None:
        """Prepare a training; `show`, where given, draws a moment of it after each batch."""
        self._request = request
        self._job = request.job
        self._store = store
        self._tracker = tracker
        self._interruption = interruption
        self._show = show
        self._in_epoch = False
        self._continuity = Continuity()

    def run(self) -> dict[str, float]:
        """Train, or go on from this job's checkpoint, and return the final validation's figures.

        Raises:
            Interrupted: a signal came; the epochs finished before it are in the checkpoint.
            torch.OutOfMemoryError: from training or validation.

        """
        epochs = self._job.training.epochs
        finished, state = self._finished_epochs()
        self._tracker.plan(epochs, finished)
        if finished:
            log.info("Resuming from the checkpoint: %d of %d epochs are finished", finished, epochs)
            self._store.restore(finished)
        metrics = self._validate_best() if finished >= epochs else self._train(finished > 0, state)
        self._tracker.finish(metrics)
        return metrics

    def _finished_epochs(self) -> tuple[int, dict[str, Any] | None]:
        """Return how many epochs the checkpoint holds, and its state; one that cannot be read is as good as none."""
        from ultralytics.nn.tasks import load_checkpoint

        file = self._store.find()
        if file is None:
            return 0, None
        try:
            content = load_checkpoint(file)[1]
            return int(content["epoch"]) + 1, content.get(KEY)
        except Exception:
            # Whatever is wrong with the file, training from the start is right, and failing for ever is not.
            log.exception("The checkpoint %s cannot be read; training from the start", file)
            self._store.discard()
            return 0, None

    def _train(self, resume: bool, state: dict[str, Any] | None) -> dict[str, float]:
        arguments = self._request.arguments()
        if resume:
            arguments["resume"] = str(self._request.work / "weights" / "last.pt")
        trainer = _trainer_class(self._job.task)(overrides=arguments)
        with ExitStack() as stack:
            # Until the first epoch nothing is lost by ending at once, and reading a large data set takes its time.
            trainer.add_callback("on_train_start", lambda _: stack.enter_context(self._interruption.deferred()))
            for event, callback in self._callbacks().items():
                trainer.add_callback(event, callback)
            trainer.add_callback("on_train_start", lambda trainer: self._continuity.restore(trainer, state))
            self._continuity.follow(trainer)
            trainer.train()
        return metrics_of(self._job.task, trainer.metrics)

    def _callbacks(self) -> dict[str, Callable[[Any], None]]:
        return {
            "on_train_start": self._on_train_start,
            "on_train_epoch_start": self._on_epoch_start,
            "on_train_batch_end": self._on_batch_end,
            "on_train_epoch_end": self._on_epoch_trained,
            "on_val_batch_end": self._on_validation_batch_end,
            "on_model_save": self._on_model_save,
            "on_fit_epoch_end": self._on_epoch_end,
        }

    def _on_train_start(self, trainer: Any) -> None:
        self._tracker.plan(trainer.epochs, trainer.start_epoch)
        log.info(
            "Training %s on %s: %d pictures, epochs %d to %d, batch %d, image size %d, %d data-loading processes",
            self._job.model,
            self._request.torch_device,
            len(trainer.train_loader.dataset),
            trainer.start_epoch + 1,
            trainer.epochs,
            trainer.batch_size,
            trainer.args.imgsz,
            trainer.train_loader.num_workers,
        )

    def _on_epoch_start(self, trainer: Any) -> None:
        self._tracker.begin_epoch(len(trainer.train_loader))

    def _on_batch_end(self, trainer: Any) -> None:
        losses = {name.removesuffix("_loss"): float(value) for name, value in trainer.tloss.items()}
        self._tracker.end_batch(trainer.batch_size, losses)
        if self._show is not None:
            self._show(self._tracker.snapshot())
        self._interruption.check()

    def _on_epoch_trained(self, _trainer: Any) -> None:
        self._in_epoch = True
        self._tracker.enter(Stage.VALIDATING)

    def _on_validation_batch_end(self, _validator: Any) -> None:
        self._interruption.check()

    def _on_model_save(self, trainer: Any) -> None:
        best = trainer.best if trainer.best_fitness == trainer.fitness else None
        self._store.save(lambda target: self._continuity.write_checkpoint(trainer, target), best)

    def _on_epoch_end(self, trainer: Any) -> None:
        if not self._in_epoch:  # Ultralytics fires it once more, after the final validation
            return
        self._in_epoch = False
        seconds = self._tracker.end_epoch(metrics_of(self._job.task, trainer.metrics))
        now = self._tracker.snapshot()
        log.info(
            "epoch %d/%d %s %s; losses %s; %.1f images/s, %.1f s",
            now.epoch,
            now.epochs,
            bar(now.epoch / now.epochs),
            sentence(now.metrics),
            ", ".join(f"{name} {value:.3f}" for name, value in now.losses.items()),
            now.images_per_second or 0.0,
            seconds,
        )

    def _validate_best(self) -> dict[str, float]:
        """Do what is left when an attempt ended between the last epoch and its last word."""
        from ultralytics import YOLO
        from ultralytics.utils.torch_utils import strip_optimizer

        weights = self._request.work / "weights"
        if not (weights / "best.pt").is_file():
            shutil.copyfile(weights / "last.pt", weights / "best.pt")
        for file in (weights / "last.pt", weights / "best.pt"):
            strip_optimizer(file, updates={KEY: None})
        self._tracker.enter(Stage.VALIDATING)
        model = YOLO(weights / "best.pt", task=self._job.task)
        model.add_callback("on_val_batch_end", self._on_validation_batch_end)
        arguments = self._request.arguments()
        kept = ("data", "imgsz", "batch", "device", "workers", "save_dir")
        figures = model.val(**{name: arguments[name] for name in kept}, plots=arguments.get("plots", True))
        return metrics_of(self._job.task, figures.results_dict)


def _trainer_class(task: Task) -> Any:
    from ultralytics.models import yolo

    return {
        "detect": yolo.detect.DetectionTrainer,
        "segment": yolo.segment.SegmentationTrainer,
        "classify": yolo.classify.ClassificationTrainer,
        "pose": yolo.pose.PoseTrainer,
        "obb": yolo.obb.OBBTrainer,
    }[task]


def _shared_memory() -> int:
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 0
