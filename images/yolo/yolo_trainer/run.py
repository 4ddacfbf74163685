# SPDX-License-Identifier: AGPL-3.0-only
"""One attempt at a job, from the job file to the termination message."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial

from yolo_trainer.errors import Reason, TrainerError
from yolo_trainer.gpu_stage import AttemptContext, GpuStage, import_libraries
from yolo_trainer.job.loader import load_job
from yolo_trainer.job.spec import Job
from yolo_trainer.labelling.job_images import to_review
from yolo_trainer.outputs.cleanup import clean_up
from yolo_trainer.outputs.manifest import completion_message, pending_exports, pending_validation
from yolo_trainer.outputs.publish import Publisher
from yolo_trainer.prepare import prepare
from yolo_trainer.settings import Settings
from yolo_trainer.storage.backends import StorageError
from yolo_trainer.storage.volumes import full_volume_problem
from yolo_trainer.termination import TerminationMessage, write_termination_message
from yolo_trainer.tracking.session import TrackingSession
from yolo_trainer.training import failures, offline
from yolo_trainer.training.checkpoint_mirror import mirror_of, remote_of
from yolo_trainer.training.gpu_share import GpuShare
from yolo_trainer.training.hold_renewer import HoldRenewer
from yolo_trainer.training.preview import latest_preview
from yolo_trainer.training.progress import Progress, ProgressTracker, Stage
from yolo_trainer.training.progress_server import ProgressServer, Sources
from yolo_trainer.training.signals import Interrupted, Interruption

log = logging.getLogger(__name__)


class Attempt:
    """One attempt at a job."""

    def __init__(
        self, settings: Settings, with_preflight: bool = True, show: Callable[[Progress], None] | None = None
    ) -> None:
        """Prepare an attempt.

        Args:
            settings: the environment.
            with_preflight: check the GPU's free memory first and stay within the granted memory; without it, the
                training run takes what it needs, as a plain `yolo train` does.
            show: draws the progress after each batch; None without a terminal.

        """
        self._settings = settings
        self._show = show
        self._interruption = Interruption()
        self._tracker = ProgressTracker()
        self._gpu = GpuShare(with_preflight)
        self._renewer: HoldRenewer | None = None
        self._job: Job | None = None
        self._stage: GpuStage | None = None
        self._tracking = TrackingSession()

    def run(self) -> TerminationMessage:
        """Train, write the termination message and return it. Call in the main thread: it handles the signals."""
        return self._report(self._train)

    def prepare(self) -> TerminationMessage:
        """Do what needs no GPU, write the termination message, and return it. Call in the main thread, as `run`."""
        return self._report(self._prepare)

    def _report(self, work: Callable[[], TerminationMessage]) -> TerminationMessage:
        """Do the work, and report how it ended, whatever happens."""
        self._interruption.install()
        try:
            termination = self._outcome(work)
        finally:
            self._interruption.ignore()
        termination = self._tracking.end(termination)
        level = logging.INFO if termination.reason == Reason.COMPLETED else logging.ERROR
        log.log(level, "%s: %s", termination.reason, termination.message)
        write_termination_message(termination, self._settings.termination_message_path)
        return termination

    def _outcome(self, work: Callable[[], TerminationMessage]) -> TerminationMessage:
        """Return the termination message of the work; of an error, where it raises one."""
        try:
            return work()
        except Interrupted:
            mirror = self._stage.mirror if self._stage else None
            if mirror is not None and not mirror.wait():
                log.warning("The newest checkpoint did not reach output.uri in time")
            return self._termination(Reason.INTERRUPTED, f"asked to end; {self._kept()}")
        except StorageError as error:
            return self._termination(Reason.CONFIG_INVALID if error.refused else Reason.ERROR, f"output.uri {error}")
        except TrainerError as error:
            return self._termination(error.reason, str(error))
        except Exception as error:
            return self._failure(error)

    def _kept(self) -> str:
        """Say what of an interrupted attempt is not done again."""
        if self._job is not None and not self._job.epochs:
            return "what was not published is done again"
        saved = self._stage.saved_epochs if self._stage else 0
        if not saved:
            return "no epoch was finished in this attempt"
        return f"{saved} of {self._tracker.snapshot().epochs} epochs are in the checkpoint"

    def _failure(self, error: Exception) -> TerminationMessage:
        """Return the termination message after an error that nothing in the trainer expects."""
        if failures.is_out_of_memory(error):
            if self._stage is not None:
                self._stage.record_out_of_memory()
            now, figures = self._tracker.snapshot(), self._gpu.figures()
            message = failures.out_of_memory_sentence(error, now, self._batch, figures)
            return self._termination(Reason.OUT_OF_MEMORY, message)
        log.exception("The training failed")
        return self._termination(Reason.ERROR, self._problem(error) or f"{type(error).__name__}: {error}")

    def _problem(self, error: Exception) -> str | None:
        full = full_volume_problem(error, self._job.output.path) if self._job else None
        return full or failures.shared_memory_problem(error)

    def _train(self) -> TerminationMessage:
        job = self._load()
        if job.hold is not None:
            self._renewer = HoldRenewer(job.hold)
            self._renewer.start()
        scratch = offline.configure_environment()
        try:
            publisher = Publisher(job, job.output.work_folder, remote_of(job), scratch)
            manifest = publisher.find_published()
            if manifest is not None:
                self._tracking.published(manifest)
            if manifest is None or pending_validation(job, manifest) or pending_exports(job, manifest):
                self._stage = GpuStage(job, publisher, self._context())
                manifest = self._stage.run(manifest)
            mirror = self._stage.mirror if self._stage else None
            clean_up(job, mirror or mirror_of(job))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._tracker.enter(Stage.DONE)
        return completion_message(job, manifest, publisher.location)

    def _prepare(self) -> TerminationMessage:
        job = self._load()
        scratch = offline.configure_environment()
        try:
            prepared = prepare(job, self._settings.dataset_limit_gib, partial(import_libraries, self._interruption))
            review = to_review(job)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        figures = {"seconds": prepared.seconds, "bytes": prepared.transferred, "images": prepared.dataset.images}
        images = ", ".join(f"{count} {split}" for split, count in prepared.dataset.images.items())
        message = f"prepared in {prepared.seconds} s: {images} images, {prepared.transferred} bytes fetched"
        message = "; ".join([message, *prepared.dataset.unlabelled_sentences])
        return TerminationMessage(Reason.COMPLETED, message, epochs=job.epochs, prepared=figures, review=review)

    def _load(self) -> Job:
        self._job = job = load_job(self._settings.job_file)
        self._tracking = TrackingSession(job)
        self._tracker.plan(job.epochs)
        self._serve_progress()
        return job

    def _context(self) -> AttemptContext:
        return AttemptContext(
            self._gpu,
            self._tracker,
            self._tracking,
            self._interruption,
            self._settings.dataset_limit_gib,
            self._show,
        )

    def _serve_progress(self) -> None:
        sources = Sources(
            self._tracker.snapshot, self._gpu.allocated_mib, self._gpu.peak_mib, self._hold_renewals, self._preview
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
        return self._stage.batch if self._stage else 0

    def _hold_renewals(self) -> tuple[int, int]:
        return (self._renewer.renewed, self._renewer.failed) if self._renewer else (0, 0)

    def _preview(self) -> bytes | None:
        return latest_preview(self._job.output.work_folder) if self._job else None

    def _termination(self, reason: Reason, message: str) -> TerminationMessage:
        """Return the termination message of an attempt that has not completed, with what is published."""
        now = self._tracker.snapshot()
        termination = TerminationMessage(
            reason,
            message,
            epoch=now.epoch,
            epochs=now.epochs,
            metrics=now.metrics,
            peak_memory_mib=self._gpu.peak_mib(),
            batch=self._batch,
        )
        return self._stage.with_published(termination) if self._stage else termination
