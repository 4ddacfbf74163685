# SPDX-License-Identifier: AGPL-3.0-only
"""One attempt from the job file to the last word."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from yolo_trainer.errors import Reason, TrainerError
from yolo_trainer.inputs.batch_size import OutOfMemoryRecord, choose_batch, images_trained
from yolo_trainer.inputs.cache import Cache
from yolo_trainer.inputs.preparation_record import Prepared
from yolo_trainer.inputs.training_arguments import Request, check_device
from yolo_trainer.job.loader import load_job
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs import exports
from yolo_trainer.outputs.cleanup import clean_up
from yolo_trainer.outputs.export_stage import make_exports
from yolo_trainer.outputs.finished_run import begin_from, find_run
from yolo_trainer.outputs.manifest import (
    Manifest,
    Run,
    completed,
    describe,
    pending_exports,
    pending_validation,
    with_results,
)
from yolo_trainer.outputs.publish import Publisher
from yolo_trainer.outputs.untrained_results import first_results
from yolo_trainer.outputs.validation_stage import validate_best
from yolo_trainer.prepare import prepare
from yolo_trainer.settings import Settings
from yolo_trainer.storage import backends
from yolo_trainer.storage.volumes import full_volume_problem
from yolo_trainer.termination import LastWord, write_last_word
from yolo_trainer.tracking.session import Tracking
from yolo_trainer.training import failures, offline
from yolo_trainer.training.checkpoint_mirror import CheckpointMirror, mirror_of, remote_of
from yolo_trainer.training.checkpoint_store import CheckpointStore
from yolo_trainer.training.gpu_share import GpuShare
from yolo_trainer.training.hold_renewer import HoldRenewer
from yolo_trainer.training.preview import latest_picture
from yolo_trainer.training.progress import Progress, ProgressTracker, Stage
from yolo_trainer.training.progress_server import ProgressServer, Sources
from yolo_trainer.training.signals import Interrupted, Interruption
from yolo_trainer.training.trainer import Training

log = logging.getLogger(__name__)


class Attempt:
    """One attempt at a job."""

    def __init__(
        self, settings: Settings, with_preflight: bool = True, show: Callable[[Progress], None] | None = None
    ) -> None:
        """Prepare an attempt.

        Args:
            settings: the environment.
            with_preflight: look at the GPU's free memory first and keep within what was granted; without it the
                training takes what it wants, as a plain `yolo train` does.
            show: draws a moment of the training after each batch, where somebody watches.

        """
        self._settings = settings
        self._show = show
        self._interruption = Interruption()
        self._tracker = ProgressTracker()
        self._gpu = GpuShare(with_preflight)
        self._renewer: HoldRenewer | None = None
        self._job: Job | None = None
        self._mirror: CheckpointMirror | None = None
        self._record: OutOfMemoryRecord | None = None
        self._request: Request | None = None
        self._training: Training | None = None
        self._tracking = Tracking()
        self._published: Callable[[LastWord], LastWord] = lambda word: word
        """Adds to a last word what is published."""

    def run(self) -> LastWord:
        """Train, write the last word, and return it. Call in the main thread: it takes SIGTERM and SIGINT over."""
        return self._told(self._train)

    def prepare(self) -> LastWord:
        """Do what needs no GPU, write the last word, and return it. Call in the main thread, as `run`."""
        return self._told(self._prepare)

    def _told(self, work: Callable[[], LastWord]) -> LastWord:
        self._interruption.install()
        try:
            word = self._outcome(work)
        finally:
            self._interruption.ignore()
        word = self._tracking.end(word)
        log.log(logging.INFO if word.reason == Reason.COMPLETED else logging.ERROR, "%s: %s", word.reason, word.message)
        write_last_word(word, self._settings.termination_message_path)
        return word

    def _outcome(self, train: Callable[[], LastWord]) -> LastWord:
        """Return the last word, whatever happens."""
        try:
            return train()
        except Interrupted:
            if self._mirror is not None and not self._mirror.wait():
                log.warning("The newest checkpoint did not reach output.uri in time")
            return self._word(Reason.INTERRUPTED, f"asked to end; {self._kept()}")
        except backends.StorageError as error:
            return self._word(Reason.CONFIG_INVALID if error.refused else Reason.ERROR, f"output.uri {error}")
        except TrainerError as error:
            return self._word(error.reason, str(error))
        except Exception as error:
            return self._failure(error)

    def _kept(self) -> str:
        """Say what of an interrupted attempt is not done again."""
        if self._job is not None and not self._job.epochs:
            return "what was not published is done again"
        saved = self._training.saved_epochs if self._training else 0
        if not saved:
            return "no epoch was finished in this attempt"
        return f"{saved} of {self._tracker.snapshot().epochs} epochs are in the checkpoint"

    def _failure(self, error: Exception) -> LastWord:
        """Return the last word after an error that nothing in the trainer expects."""
        if failures.is_out_of_memory(error):
            if self._record is not None and self._tracker.snapshot().stage != Stage.EXPORTING:
                self._record.note(self._batch)
            now, figures = self._tracker.snapshot(), self._gpu.figures()
            return self._word(Reason.OUT_OF_MEMORY, failures.out_of_memory_sentence(error, now, self._batch, figures))
        log.exception("The training failed")
        return self._word(Reason.ERROR, self._problem(error) or f"{type(error).__name__}: {error}")

    def _problem(self, error: Exception) -> str | None:
        full = full_volume_problem(error, self._job.output.path) if self._job else None
        return full or failures.shared_memory_problem(error)

    def _train(self) -> LastWord:
        job = self._load()
        if job.hold is not None:
            self._renewer = HoldRenewer(job.hold)
            self._renewer.start()
        scratch = offline.prepare()
        try:
            publisher = Publisher(job, job.output.work_folder, remote_of(job), scratch)
            manifest = publisher.earlier()
            if manifest is not None:
                self._tracking.published(manifest)
            if manifest is None or pending_validation(job, manifest) or pending_exports(job, manifest):
                manifest = self._with_gpu(job, publisher, manifest)
            clean_up(job, self._mirror or mirror_of(job))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._tracker.enter(Stage.DONE)
        return completed(job, manifest, publisher.place)

    def _prepare(self) -> LastWord:
        job = self._load()
        scratch = offline.prepare()
        try:
            prepared = prepare(job, self._settings.dataset_limit_gib, self._import_libraries)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        figures = {"seconds": prepared.seconds, "bytes": prepared.transferred, "images": prepared.dataset.images}
        pictures = ", ".join(f"{count} {split}" for split, count in prepared.dataset.images.items())
        message = f"prepared in {prepared.seconds} s: {pictures} images, {prepared.transferred} bytes fetched"
        message = "; ".join([message, *prepared.dataset.unlabelled_sentences])
        return LastWord(Reason.COMPLETED, message, epochs=job.epochs, prepared=figures)

    def _load(self) -> Job:
        self._job = job = load_job(self._settings.job_file)
        self._tracking = Tracking(job)
        self._tracker.plan(job.epochs)
        self._serve_progress()
        return job

    def _with_gpu(self, job: Job, publisher: Publisher, manifest: Manifest | None) -> Manifest:
        """Train and publish, unless an earlier attempt did; then do what is left: a validation, and exports.

        In the other modes there is a validation, or weights that are published as they are, in place of a training.
        """
        if manifest is not None:
            self._report(manifest, publisher)
        prepared = prepare(job, self._settings.dataset_limit_gib, self._import_libraries)
        self._import_libraries()
        device = self._gpu.open(job.gpu).torch_device
        exports.check_device(job.output.export, device)
        check_device(prepared.args, device)
        begin = None if manifest is not None else self._beginning(job, prepared, device)
        with self._gpu.reserved():
            if begin is not None:
                manifest = publisher.publish(begin())
                self._tracking.published(manifest)
            assert manifest is not None, "what was not trained is published"
            self._report(manifest, publisher)
            self._tracker.plan(job.epochs, manifest.epochs)
            if pending_validation(job, manifest):
                self._tracker.enter(Stage.VALIDATING)
                manifest = validate_best(job, manifest, publisher, partial(self._new_request, job, prepared, device))
                self._report(manifest, publisher)
            self._tracker.enter(Stage.EXPORTING)
            return make_exports(job, manifest, publisher, prepared.dataset.pictures("val"), device)

    def _beginning(self, job: Job, prepared: Prepared, device: str) -> Callable[[], Manifest]:
        """Return what makes the first results of a job, in its work folder, once it has the GPU."""
        if job.mode == "Train":
            return partial(self._trained, job, prepared, self._new_training(job, prepared, device))
        shutil.rmtree(job.output.work_folder, ignore_errors=True)
        request = self._new_request(job, prepared, device)
        return partial(first_results, prepared, request, self._tracker, self._gpu.peak_mib)

    def _trained(self, job: Job, prepared: Prepared, training: Training) -> Manifest:
        trained = training.run()
        if self._mirror is not None and job.output.keep_checkpoint:
            self._mirror.complete()
        epochs = self._tracker.snapshot().epoch
        run = Run(trained.metrics, epochs, trained.ending, self._batch, self._gpu.peak_mib())
        return describe(job, prepared.dataset.images, run, self._tracking.runs)

    def _report(self, manifest: Manifest, publisher: Publisher) -> None:
        """Have the last word say what is published, however the attempt ends."""
        self._published = lambda word: with_results(word, manifest, publisher.place)

    def _new_training(self, job: Job, prepared: Prepared, torch_device: str) -> Training:
        store = self._store(job, job.output.checkpoint_folder)
        if store.find() is None:
            shutil.rmtree(job.output.work_folder, ignore_errors=True)
        request = self._new_request(job, prepared, torch_device)
        if job.resume_from is not None and store.find() is None:
            run = find_run(job, Cache(job.cache_path, job.job.uid, self._settings.dataset_limit_gib))
            begin_from(run, request, store)
        self._training = Training(
            request,
            prepared.dataset,
            store,
            self._tracker,
            self._interruption,
            self._show,
            note_too_large=OutOfMemoryRecord(store.folder, job.job.uid).note,
            note_saved=self._tracking.saved,
        )
        return self._training

    def _new_request(self, job: Job, prepared: Prepared, torch_device: str) -> Request:
        """Choose the batch, and write the description of the data into the work folder."""
        work = job.output.work_folder
        work.mkdir(exist_ok=True)
        self._record = OutOfMemoryRecord(job.output.checkpoint_folder, job.job.uid)
        images = images_trained(prepared.dataset.images["train"], prepared.args.get("fraction"))
        batch = choose_batch(job, prepared.need, self._gpu.granted_mib, self._record.smallest_failed(), images)
        data = prepared.dataset.written_to(work)
        self._request = Request(job, data, prepared.model, prepared.args, torch_device, batch)
        return self._request

    def _import_libraries(self) -> None:
        """Import PyTorch and Ultralytics. While it is imported PyTorch aborts the process where Python code raises."""
        with self._interruption.deferred():
            offline.seal()

    def _store(self, job: Job, checkpoint: Path) -> CheckpointStore:
        store = CheckpointStore(checkpoint, job.output.work_folder, job.job.uid)
        self._mirror = mirror_of(job)
        if self._mirror is not None:
            self._mirror.bring_back(job.job.uid, store)
            self._mirror.start()
            store.on_save = self._mirror.note
        return store

    def _serve_progress(self) -> None:
        sources = Sources(
            self._tracker.snapshot, self._gpu.allocated_mib, self._gpu.peak_mib, self._hold_renewals, self._picture
        )
        try:
            server = ProgressServer(self._settings.bind_address, self._settings.progress_port, sources)
        except OSError as error:
            log.warning(
                "Training without /progress: %s:%d cannot be listened on (%s)",
                self._settings.bind_address,
                self._settings.progress_port,
                error.strerror,
            )
        else:
            server.start()
            log.info("Progress is served on %s:%d", self._settings.bind_address, server.port)

    @property
    def _batch(self) -> int:
        """Images per batch; 0 while none was chosen."""
        if self._training is not None:
            return self._training.batch
        return self._request.batch if self._request else 0

    def _hold_renewals(self) -> tuple[int, int]:
        return (self._renewer.renewed, self._renewer.failed) if self._renewer else (0, 0)

    def _picture(self) -> bytes | None:
        return latest_picture(self._job.output.work_folder) if self._job else None

    def _word(self, reason: Reason, message: str) -> LastWord:
        now = self._tracker.snapshot()
        return self._published(
            LastWord(
                reason,
                message,
                epoch=now.epoch,
                epochs=now.epochs,
                metrics=now.metrics,
                peak_memory_mib=self._gpu.peak_mib(),
                batch=self._batch,
            )
        )
