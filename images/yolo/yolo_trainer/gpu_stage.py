# SPDX-License-Identifier: AGPL-3.0-only
"""The part of an attempt that has the GPU: the first results, a further validation, and exports.

Each is published as soon as it is made, so a later attempt does only what is left.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from yolo_trainer.inputs.batch_size import OutOfMemoryRecord, choose_batch, images_trained
from yolo_trainer.inputs.cache import Cache
from yolo_trainer.inputs.preparation_record import Prepared
from yolo_trainer.inputs.training_arguments import TrainingRequest, check_device
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs import exports
from yolo_trainer.outputs.export_stage import make_exports
from yolo_trainer.outputs.finished_run import begin_from, find_run
from yolo_trainer.outputs.manifest import Manifest, Run, describe, pending_validation, with_results
from yolo_trainer.outputs.publish import Publisher
from yolo_trainer.outputs.untrained_results import make_first_results
from yolo_trainer.outputs.validation_stage import validate_best
from yolo_trainer.prepare import prepare
from yolo_trainer.termination import TerminationMessage
from yolo_trainer.tracking.session import TrackingSession
from yolo_trainer.training import offline
from yolo_trainer.training.checkpoint_mirror import CheckpointMirror, mirror_of
from yolo_trainer.training.checkpoint_store import CheckpointStore
from yolo_trainer.training.gpu_share import GpuShare
from yolo_trainer.training.progress import Progress, ProgressTracker, Stage
from yolo_trainer.training.signals import Interruption
from yolo_trainer.training.trainer import TrainingRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AttemptContext:
    """What an attempt shares with the stage that has the GPU."""

    gpu: GpuShare
    tracker: ProgressTracker
    tracking: TrackingSession
    interruption: Interruption
    dataset_limit_gib: int
    """Largest size that an archive may unpack to."""
    show: Callable[[Progress], None] | None
    """Draws the progress after each batch; None without a terminal."""


class GpuStage:
    """Makes and publishes what a job's results still lack."""

    def __init__(self, job: Job, publisher: Publisher, context: AttemptContext) -> None:
        """Prepare the stage.

        Args:
            job: the job.
            publisher: where the results are published.
            context: what the attempt shares.

        """
        self._job = job
        self._publisher = publisher
        self._context = context
        self._manifest: Manifest | None = None
        self._record: OutOfMemoryRecord | None = None
        self._request: TrainingRequest | None = None
        self._training: TrainingRun | None = None
        self.mirror: CheckpointMirror | None = None
        """Copies checkpoints to `output.uri`; None for a job without it, and before a training run."""

    def run(self, manifest: Manifest | None) -> Manifest:
        """Train and publish, unless `manifest` shows that it was done; then validate on the further split, and export.

        A job in another mode than Train validates weights, or publishes them as they are, in place of a training run.

        Raises:
            Interrupted: a signal came.
            Exception: see `prepare`, `GpuShare.open`, `TrainingRun.run`, `validate_best` and `make_exports`.

        """
        job, tracker = self._job, self._context.tracker
        self._manifest = manifest
        prepared = prepare(job, self._context.dataset_limit_gib, self._import_libraries)
        self._import_libraries()
        device = self._context.gpu.open(job.gpu).torch_device
        exports.check_device(job.output.export, device)
        check_device(prepared.args, device)
        begin = None if manifest is not None else self._beginning(prepared, device)
        with self._context.gpu.reserved():
            if begin is not None:
                manifest = self._publisher.publish(begin())
                self._context.tracking.published(manifest)
            assert manifest is not None, "what was not trained is published"
            self._manifest = manifest
            tracker.plan(job.epochs, manifest.epochs)
            if pending_validation(job, manifest):
                tracker.enter(Stage.VALIDATING)
                manifest = validate_best(job, manifest, self._publisher, partial(self._new_request, prepared, device))
                self._manifest = manifest
            tracker.enter(Stage.EXPORTING)
            return make_exports(job, manifest, self._publisher, prepared.dataset.image_files("val"), device)

    @property
    def batch(self) -> int:
        """Images per batch; 0 while none was chosen."""
        if self._training is not None:
            return self._training.batch
        return self._request.batch if self._request else 0

    @property
    def saved_epochs(self) -> int:
        """Epochs that are in the checkpoint."""
        return self._training.saved_epochs if self._training else 0

    def record_out_of_memory(self) -> None:
        """Have the next attempt take a smaller batch, unless memory ran out in an export, which has no batch."""
        if self._record is not None and self._context.tracker.snapshot().stage != Stage.EXPORTING:
            self._record.add(self.batch)

    def with_published(self, termination: TerminationMessage) -> TerminationMessage:
        """Add what is published so far to a termination message."""
        if self._manifest is None:
            return termination
        return with_results(termination, self._manifest, self._publisher.location)

    def _import_libraries(self) -> None:
        import_libraries(self._context.interruption)

    def _beginning(self, prepared: Prepared, device: str) -> Callable[[], Manifest]:
        """Return a function that makes the first results of a job in its work folder; it needs the GPU."""
        if self._job.mode == "Train":
            return partial(self._train, prepared, self._new_training(prepared, device))
        shutil.rmtree(self._job.output.work_folder, ignore_errors=True)
        request = self._new_request(prepared, device)
        return partial(make_first_results, prepared, request, self._context.tracker, self._context.gpu.peak_mib)

    def _train(self, prepared: Prepared, training: TrainingRun) -> Manifest:
        result = training.run()
        if self.mirror is not None and self._job.output.keep_checkpoint:
            self.mirror.complete()
        epochs = self._context.tracker.snapshot().epoch
        run = Run(result.metrics, epochs, result.ending, self.batch, self._context.gpu.peak_mib())
        return describe(self._job, prepared.dataset.images, run, self._context.tracking.runs)

    def _new_training(self, prepared: Prepared, torch_device: str) -> TrainingRun:
        job, store = self._job, self._open_store()
        if store.find() is None:
            shutil.rmtree(job.output.work_folder, ignore_errors=True)
        request = self._new_request(prepared, torch_device)
        if job.resume_from is not None and store.find() is None:
            run = find_run(job, Cache(job.cache_path, job.job.uid, self._context.dataset_limit_gib))
            begin_from(run, request, store)
        self._training = TrainingRun(
            request,
            prepared.dataset,
            store,
            self._context.tracker,
            self._context.interruption,
            self._context.show,
            on_too_large=OutOfMemoryRecord(store.folder, job.job.uid).add,
            on_saved=self._context.tracking.saved,
        )
        return self._training

    def _new_request(self, prepared: Prepared, torch_device: str) -> TrainingRequest:
        """Choose the batch, and write the description of the data into the work folder."""
        job = self._job
        work = job.output.work_folder
        work.mkdir(exist_ok=True)
        self._record = OutOfMemoryRecord(job.output.checkpoint_folder, job.job.uid)
        images = images_trained(prepared.dataset.images["train"], prepared.args.get("fraction"))
        granted = self._context.gpu.granted_mib
        batch = choose_batch(job, prepared.need, granted, self._record.smallest_failed(), images)
        data = prepared.dataset.written_to(work)
        self._request = TrainingRequest(job, data, prepared.model, prepared.args, torch_device, batch)
        return self._request

    def _open_store(self) -> CheckpointStore:
        """Open the job's checkpoint, restored from `output.uri` if the volume has none, and copied to there."""
        job = self._job
        store = CheckpointStore(job.output.checkpoint_folder, job.output.work_folder, job.job.uid)
        self.mirror = mirror_of(job)
        if self.mirror is not None:
            self.mirror.restore(job.job.uid, store)
            self.mirror.start()
            store.on_save = self.mirror.notify
        return store


def import_libraries(interruption: Interruption) -> None:
    """Import PyTorch and Ultralytics. While it is imported, PyTorch aborts the process if Python code raises."""
    with interruption.deferred():
        offline.import_ultralytics()
