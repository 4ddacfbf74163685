# SPDX-License-Identifier: AGPL-3.0-only
"""One attempt from the job file to the last word."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import gpu_memory
from yolo_trainer import exports, offline, preflight, storage, stores
from yolo_trainer.batch import OutOfMemoryRecord, choose_batch
from yolo_trainer.checkpoints import CheckpointStore
from yolo_trainer.hold import HoldRenewer
from yolo_trainer.interruption import Interrupted, Interruption
from yolo_trainer.job import Job, load_job
from yolo_trainer.manifest import Manifest, Run, completed, describe
from yolo_trainer.mirror import CheckpointMirror
from yolo_trainer.outcome import LastWord, Reason, TrainerError, write_last_word
from yolo_trainer.prepare import RECORD, prepare
from yolo_trainer.progress import Progress, ProgressTracker, Stage
from yolo_trainer.publish import Publisher
from yolo_trainer.request import Request, work_folder
from yolo_trainer.samples import latest_picture
from yolo_trainer.server import ProgressServer, Sources
from yolo_trainer.settings import Settings
from yolo_trainer.train import Training

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
        self._with_preflight = with_preflight
        self._show = show
        self._interruption = Interruption()
        self._tracker = ProgressTracker()
        self._device: gpu_memory.Device | None = None
        self._renewer: HoldRenewer | None = None
        self._job: Job | None = None
        self._mirror: CheckpointMirror | None = None
        self._record: OutOfMemoryRecord | None = None
        self._granted_mib: int | None = None
        self._batch = 0

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
        log.log(logging.INFO if word.reason == Reason.COMPLETED else logging.ERROR, "%s: %s", word.reason, word.message)
        write_last_word(word, self._settings.termination_message_path)
        return word

    def _outcome(self, train: Callable[[], LastWord]) -> LastWord:
        """Return the last word, whatever happens."""
        try:
            return train()
        except Interrupted:
            now = self._tracker.snapshot()
            where = (
                f"{now.epoch} of {now.epochs} epochs are in the checkpoint"
                if now.epoch
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
            if _is_out_of_memory(error):
                if self._record is not None:
                    self._record.note(self._batch)
                return self._word(Reason.OUT_OF_MEMORY, self._out_of_memory(error))
            log.exception("The training failed")
            return self._word(Reason.ERROR, f"{type(error).__name__}: {error}")

    def _train(self) -> LastWord:
        job = self._load()
        if job.hold is not None:
            self._renewer = HoldRenewer(job.hold)
            self._renewer.start()
        scratch = offline.prepare()
        try:
            publisher = Publisher(job, work_folder(job.output.path), _remote(job), scratch)
            earlier = publisher.earlier()
            manifest = earlier or self._trained(job, publisher)
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
        message = f"prepared in {prepared.seconds} s: {pictures} pictures, {prepared.transferred} bytes fetched"
        return LastWord(Reason.COMPLETED, message, epochs=job.training.epochs, prepared=figures)

    def _load(self) -> Job:
        self._job = job = load_job(self._settings.job_file)
        self._tracker.plan(job.training.epochs)
        self._serve_progress()
        return job

    def _trained(self, job: Job, publisher: Publisher) -> Manifest:
        """Train, export and publish."""
        prepared = prepare(job, self._settings.dataset_limit_gib, self._import_libraries)
        self._import_libraries()
        self._granted_mib = self._check_gpu(job)
        self._device = gpu_memory.open_device()
        exports.check_device(job.output.export, self._device.torch_device)
        checkpoint = job.output.path / "checkpoint"
        self._record = OutOfMemoryRecord(checkpoint, job.job.uid)
        store = self._store(job, checkpoint)
        work = work_folder(job.output.path)
        if store.find() is None:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        self._batch = choose_batch(job, prepared.need, self._granted_mib, self._record.limit())
        data = prepared.dataset.written_to(work)
        request = Request(job, data, prepared.model, prepared.args, self._device.torch_device, self._batch)
        with self._reserved():
            trained = Training(request, store, self._tracker, self._interruption, self._show).run()
        self._tracker.enter(Stage.EXPORTING)
        pictures = prepared.dataset.pictures("val")
        made = exports.export(
            work / "weights" / "best.pt", job.output.export, job.training.image_size, pictures, request.torch_device
        )
        run = Run(
            metrics=trained.metrics, epochs=self._tracker.snapshot().epoch, ending=trained.ending, batch=self._batch,
            exports=made, peak_memory_mib=self._device.peak_mib(),
        )  # fmt: skip
        return publisher.publish(describe(job, prepared.dataset.images, run))

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
        if self._mirror is not None:
            self._mirror.forget()
        for folder in (job.output.path / "checkpoint", *([] if job.cache else [job.cache_path])):
            shutil.rmtree(folder, ignore_errors=True)
        (job.output.path / RECORD).unlink(missing_ok=True)

    def _serve_progress(self) -> None:
        sources = Sources(
            self._tracker.snapshot, self._gpu_memory_mib, self._peak_memory_mib, self._hold_renewals, self._picture
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

    def _check_gpu(self, job: Job) -> int | None:
        """Return the MiB that the training may take; None without a GPU."""
        if not self._with_preflight:
            return job.gpu.memory_mib
        seen: gpu_memory.GpuMemory | gpu_memory.GpuUnavailable
        try:
            seen = gpu_memory.read()
        except gpu_memory.GpuUnavailable as error:
            seen = error
        granted = preflight.check_gpu(job.gpu, seen)
        if isinstance(seen, gpu_memory.GpuMemory):
            log.info("Preflight: %s; %d MiB are granted", preflight.figures(seen), granted)
        else:
            log.warning("No GPU is visible (%s): training on the CPU", seen)
        return granted

    def _reserved(self) -> AbstractContextManager[object]:
        if self._device is None or self._granted_mib is None:
            return nullcontext()
        if self._device.kind == "cuda" and not self._with_preflight:
            return nullcontext()
        return self._device.reserve(self._granted_mib)

    def _gpu_memory_mib(self) -> int:
        return self._device.allocated_mib() if self._device else 0

    def _peak_memory_mib(self) -> int:
        return self._device.peak_mib() if self._device else 0

    def _hold_renewals(self) -> tuple[int, int]:
        return (self._renewer.renewed, self._renewer.failed) if self._renewer else (0, 0)

    def _picture(self) -> bytes | None:
        return latest_picture(work_folder(self._job.output.path)) if self._job else None

    def _out_of_memory(self, error: Exception) -> str:
        granted = f"{self._granted_mib} MiB were granted" if self._granted_mib else ""
        peak = f"the training's peak was {self._device.peak_mib()} MiB" if self._device else ""
        try:
            seen = preflight.figures(gpu_memory.read())
        except gpu_memory.GpuUnavailable:
            seen = ""
        now = self._tracker.snapshot()
        when = "before the first epoch" if now.stage == Stage.PREPARING else f"after {now.epoch} of {now.epochs} epochs"
        facts = "; ".join(part for part in (granted, peak, seen) if part)
        first_line = str(error).partition("\n")[0]
        return (
            f"out of GPU memory {when}, with {self._batch} pictures per batch: {facts}. Ask for more gpu.memory, or "
            f"for a smaller batch or imageSize. ({first_line})"
        )

    def _word(self, reason: Reason, message: str) -> LastWord:
        now = self._tracker.snapshot()
        return LastWord(
            reason,
            message,
            epoch=now.epoch,
            epochs=now.epochs,
            metrics=now.metrics,
            peak_memory_mib=self._peak_memory_mib(),
            batch=self._batch,
        )


def _remote(job: Job) -> storage.RemoteFolder | None:
    return storage.RemoteFolder(job.output.uri) if job.output.uri else None


def _is_out_of_memory(error: Exception) -> bool:
    """Say whether an error means that the GPU is full; not all of them are `torch.OutOfMemoryError`."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "cublas_status_alloc_failed" in text)
    )
