# SPDX-License-Identifier: AGPL-3.0-only
"""Run one Ultralytics training, from its checkpoint if there is one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from yolo_trainer.inputs.dataset import Dataset
from yolo_trainer.inputs.label_cache import keep_in
from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.inputs.weights import is_rtdetr
from yolo_trainer.job.spec import Task
from yolo_trainer.training.checkpoint_file import Course, Snapshot, read_snapshot, write_snapshot
from yolo_trainer.training.checkpoint_store import CheckpointStore
from yolo_trainer.training.loaded_images import check_trained, decoding
from yolo_trainer.training.metrics import metrics_of, sentence
from yolo_trainer.training.preview import Preview
from yolo_trainer.training.progress import Progress, ProgressTracker, Stage
from yolo_trainer.training.progress_bar import bar
from yolo_trainer.training.resume_state import ResumeState
from yolo_trainer.training.signals import Interruption
from yolo_trainer.training.stop_conditions import Ending, TrainingTime, ending_of
from yolo_trainer.training.validation import validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run."""

    metrics: dict[str, float]
    """The final validation's figures."""
    ending: Ending


class TrainingRun:
    """One training run, observed and interruptible."""

    def __init__(
        self,
        request: TrainingRequest,
        dataset: Dataset,
        store: CheckpointStore,
        tracker: ProgressTracker,
        interruption: Interruption,
        show: Callable[[Progress], None] | None = None,
        on_too_large: Callable[[int], None] = lambda _: None,
        on_saved: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare a training run.

        Args:
            request: what is trained.
            dataset: the data set that was checked; Ultralytics has to train on as many images.
            store: where its checkpoint is.
            tracker: gets the progress.
            interruption: ends it.
            show: draws the progress after each batch.
            on_too_large: is called with each batch that ran out of memory where Ultralytics retries with half of it.
            on_saved: is called with the number of epochs that are in a checkpoint, whenever it has changed.

        """
        self._request = request
        self._job = request.job
        self._dataset = dataset
        self._store = store
        self._tracker = tracker
        self._interruption = interruption
        self._show = show
        self._on_too_large = on_too_large
        self._on_saved = on_saved
        self.batch = request.batch
        """Images per batch, as they are trained or were last: Ultralytics halves it where it runs out of memory."""
        self._in_epoch = False
        self._continuity = ResumeState()
        self._time = TrainingTime(request.job.training.time_limit)
        self._ending = Ending.EPOCHS
        self._best_is_lost = self._best_is_new = False
        self.saved_epochs = 0
        """Epochs that are in the checkpoint."""

    def run(self) -> TrainingResult:
        """Train, or resume from this job's checkpoint, and validate the best weights.

        Raises:
            Interrupted: a signal came; the epochs finished before it are in the checkpoint.
            torch.OutOfMemoryError: from training or validation.
            DatasetInvalidError: Ultralytics trains on other images than were checked, or cannot decode one.

        """
        keep_in(self._job.output.path)
        earlier = self._earlier()
        course = earlier.course if earlier else Course()
        epochs = self._job.training.epochs
        self._tracker.plan(epochs, course.epochs)
        self.saved_epochs = course.epochs
        if earlier:
            log.info("Resuming from the checkpoint: %d of %d epochs are finished", course.epochs, epochs)
            if not self._store.restore(course.epochs, earlier.checkpoint):
                log.warning("The best weights so far are lost; those of a later epoch replace them")
                self._best_is_lost = True
        self._on_saved(course.epochs)
        if course.ending is None:
            metrics = self._train(earlier)
        else:
            metrics, self._ending = self._validate_best(), course.ending
        self._tracker.finish(metrics)
        return TrainingResult(metrics, self._ending)

    def _earlier(self) -> Snapshot | None:
        """Return the newest snapshot of earlier attempts that can be read."""
        while (file := self._store.find()) is not None:
            try:
                return read_snapshot(file)
            except OSError:
                raise
            except Exception:
                # Whatever is wrong with the file: an earlier snapshot or a new start is better than failing again.
                log.exception("The checkpoint %s cannot be read", file)
                self._store.drop(file)
        return None

    def _train(self, earlier: Snapshot | None) -> dict[str, float]:
        arguments = self._request.arguments()
        if earlier:
            arguments["resume"] = str(self._request.work / "weights" / "last.pt")
        seconds, state = (earlier.course.seconds, earlier.state) if earlier else (0.0, None)
        trainer = _trainer_class(self._job.task, self._request.model)(overrides=arguments)
        with ExitStack() as stack:
            stack.enter_context(decoding())
            trainer.add_callback("on_pretrain_routine_end", lambda trainer: check_trained(trainer, self._dataset))
            trainer.add_callback("on_train_start", lambda _: self._time.begin(seconds))
            # Before the first epoch nothing is lost by ending immediately, and reading a large data set takes long.
            trainer.add_callback("on_train_start", lambda _: stack.enter_context(self._interruption.deferred()))
            for event, callback in self._callbacks().items():
                trainer.add_callback(event, callback)
            trainer.add_callback("on_train_start", lambda trainer: self._continuity.restore(trainer, state))
            self._continuity.follow(trainer)
            Preview(bool(arguments.get("plots", True))).follow(trainer)
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
        if self._best_is_lost:
            trainer.best_fitness = None  # so that the next epoch is the best
        self._tracker.plan(trainer.epochs, trainer.start_epoch)
        log.info(
            "Training %s on %s: %d images, epochs %d to %d, batch %d, image size %d, %d data-loading processes",
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
        if trainer.batch_size < self.batch:
            self._on_halved(trainer)
        self._tracker.begin_epoch(len(trainer.train_loader), self._time.left)

    def _on_halved(self, trainer: Any) -> None:
        from ultralytics.utils import YAML

        self._on_too_large(self.batch)
        self.batch = int(trainer.batch_size)
        YAML.save(trainer.save_dir / "args.yaml", vars(trainer.args))
        log.warning("Out of GPU memory: the epoch begins again with batch %d", self.batch)

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
        self._best_is_new |= trainer.best_fitness == trainer.fitness
        ending = ending_of(trainer, self._time.left)
        due = (trainer.epoch + 1) % self._job.training.checkpoint_interval == 0
        if not due and ending is None and not self._interruption.requested:
            return
        course = Course(trainer.epoch + 1, self._time.spent, ending)
        state = self._continuity.state(trainer)
        best = trainer.best if self._best_is_new else None
        self._store.save(lambda target: write_snapshot(target, course, trainer.last, state), best)
        self._best_is_new, self.saved_epochs = False, course.epochs
        self._on_saved(course.epochs)
        if ending is not None:
            self._ending, trainer.stop = ending, True

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
        """Do the remaining steps if an attempt ended between the last epoch and its termination message."""
        from ultralytics.utils.torch_utils import strip_optimizer

        weights = self._request.work / "weights"
        if not (weights / "best.pt").is_file():
            shutil.copyfile(weights / "last.pt", weights / "best.pt")
        for file in (weights / "last.pt", weights / "best.pt"):
            strip_optimizer(file)
        self._tracker.enter(Stage.VALIDATING)
        return validate(self._request, weights / "best.pt", self._job.split, self._request.work)


def _trainer_class(task: Task, model: str) -> Any:
    from ultralytics.models import rtdetr, yolo

    if task == "detect" and is_rtdetr(model):
        return rtdetr.train.RTDETRTrainer
    return {
        "detect": yolo.detect.DetectionTrainer,
        "segment": yolo.segment.SegmentationTrainer,
        "classify": yolo.classify.ClassificationTrainer,
        "pose": yolo.pose.PoseTrainer,
        "obb": yolo.obb.OBBTrainer,
    }[task]
