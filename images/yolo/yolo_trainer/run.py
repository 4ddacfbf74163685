# SPDX-License-Identifier: AGPL-3.0-only
"""One attempt from the job file to the last word."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from yolo_trainer import exports, failures, offline, storage, stores
from yolo_trainer.batch import OutOfMemoryRecord, choose_batch, images_trained
from yolo_trainer.checkpoints import CheckpointStore
from yolo_trainer.export_stage import make_exports
from yolo_trainer.gpu_share import GpuShare
from yolo_trainer.hold import HoldRenewer
from yolo_trainer.interruption import Interrupted, Interruption
from yolo_trainer.job import Job, load_job
from yolo_trainer.label_cache import working_folder
from yolo_trainer.manifest import Manifest, Run, completed, describe, pending_exports, with_results
from yolo_trainer.mirror import CheckpointMirror
from yolo_trainer.outcome import LastWord, Reason, TrainerError, write_last_word
from yolo_trainer.prepare import RECORD, Prepared, prepare
from yolo_trainer.progress import Progress, ProgressTracker, Stage
from yolo_trainer.publish import Publisher
from yolo_trainer.request import Request, check_device, work_folder
from yolo_trainer.samples import latest_picture
from yolo_trainer.server import ProgressServer, Sources
from yolo_trainer.settings import Settings
from yolo_trainer.tracking.session import Tracking
from yolo_trainer.train import Trained, Training
from yolo_trainer.volumes import full_volume_problem

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
            saved = self._training.saved_epochs if self._training else 0
            where = (
                f"{saved} of {self._tracker.snapshot().epochs} epochs are in the checkpoint"
                if saved
                else "no epoch was finished in this attempt"
            )
            if self._mirror is not None and not self._mirror.wait():
                log.warning("The newest checkpoint did not reach output.uri in time")
            return self._word(Reason.INTERRUPTED, f"asked to end; {where}")
        except stores.StorageError as error:
            return self._word(Reason.CONFIG_INVALID if error.refused else Reason.ERROR, f"output.uri {error}")
        except TrainerError as error:
            return self._word(error.reason, str(error))
        except Exception as error:
            return self._failure(error)

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
            publisher = Publisher(job, work_folder(job.output.path), _remote(job), scratch)
            manifest = publisher.earlier()
            if manifest is not None:
                self._tracking.published(manifest)
            if manifest is None or pending_exports(job, manifest):
                manifest = self._with_gpu(job, publisher, manifest)
            self._clean_up(job)
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
        return LastWord(Reason.COMPLETED, message, epochs=job.training.epochs, prepared=figures)

    def _load(self) -> Job:
        self._job = job = load_job(self._settings.job_file)
        self._tracking = Tracking(job)
        self._tracker.plan(job.training.epochs)
        self._serve_progress()
        return job

    def _with_gpu(self, job: Job, publisher: Publisher, manifest: Manifest | None) -> Manifest:
        """Train and publish, unless an earlier attempt did; then make the exports that are still to be made."""
        if manifest is not None:
            self._report(manifest, publisher)
        prepared = prepare(job, self._settings.dataset_limit_gib, self._import_libraries)
        self._import_libraries()
        device = self._gpu.open(job.gpu).torch_device
        exports.check_device(job.output.export, device)
        check_device(prepared.args, device)
        training = self._new_training(job, prepared, device) if manifest is None else None
        with self._gpu.reserved():
            if training is not None:
                run = self._run_of(training.run())
                described = describe(job, prepared.dataset.images, run, self._tracking.runs)
                manifest = publisher.publish(described)
                self._tracking.published(manifest)
            assert manifest is not None, "what was not trained is published"
            self._report(manifest, publisher)
            self._tracker.plan(job.training.epochs, manifest.epochs)
            self._tracker.enter(Stage.EXPORTING)
            return make_exports(job, manifest, publisher, prepared.dataset.pictures("val"), device)

    def _report(self, manifest: Manifest, publisher: Publisher) -> None:
        """Have the last word say what is published, however the attempt ends."""
        self._published = lambda word: with_results(word, manifest, publisher.place)

    def _new_training(self, job: Job, prepared: Prepared, torch_device: str) -> Training:
        checkpoint = job.output.path / "checkpoint"
        self._record = OutOfMemoryRecord(checkpoint, job.job.uid)
        store = self._store(job, checkpoint)
        work = work_folder(job.output.path)
        if store.find() is None:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        images = images_trained(prepared.dataset.images["train"], prepared.args.get("fraction"))
        batch = choose_batch(job, prepared.need, self._gpu.granted_mib, self._record.smallest_failed(), images)
        data = prepared.dataset.written_to(work)
        request = Request(job, data, prepared.model, prepared.args, torch_device, batch)
        self._training = Training(
            request,
            prepared.dataset,
            store,
            self._tracker,
            self._interruption,
            self._show,
            note_too_large=self._record.note,
            note_saved=self._tracking.saved,
        )
        return self._training

    def _run_of(self, trained: Trained) -> Run:
        epochs = self._tracker.snapshot().epoch
        return Run(trained.metrics, epochs, trained.ending, self._batch, self._gpu.peak_mib())

    def _import_libraries(self) -> None:
        """Import PyTorch and Ultralytics. While it is imported PyTorch aborts the process where Python code raises."""
        with self._interruption.deferred():
            offline.seal()

    def _store(self, job: Job, checkpoint: Path) -> CheckpointStore:
        store = CheckpointStore(checkpoint, work_folder(job.output.path), job.job.uid)
        remote = _remote(job)
        if remote is not None:
            self._mirror = CheckpointMirror(remote, checkpoint)
            self._mirror.bring_back(job.job.uid, store)
            self._mirror.start()
            store.on_save = self._mirror.note
        return store

    def _clean_up(self, job: Job) -> None:
        """Remove what only an unfinished job needs."""
        remote = _remote(job)
        if remote is not None:
            (self._mirror or CheckpointMirror(remote, job.output.path / "checkpoint")).forget()
        for folder in (
            job.output.path / "checkpoint",
            working_folder(job.output.path),
            *([] if job.cache else [job.cache_path]),
        ):
            shutil.rmtree(folder, ignore_errors=True)
        (job.output.path / RECORD).unlink(missing_ok=True)

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
        """Images per batch of the training; 0 while it has none."""
        return self._training.batch if self._training else 0

    def _hold_renewals(self) -> tuple[int, int]:
        return (self._renewer.renewed, self._renewer.failed) if self._renewer else (0, 0)

    def _picture(self) -> bytes | None:
        return latest_picture(work_folder(self._job.output.path)) if self._job else None

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


def _remote(job: Job) -> storage.RemoteFolder | None:
    return storage.RemoteFolder(job.output.uri) if job.output.uri else None
