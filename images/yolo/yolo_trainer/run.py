# SPDX-License-Identifier: AGPL-3.0-only
"""One attempt from the job file to the last word."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import gpu_memory
from yolo_trainer import arguments, offline, preflight, results
from yolo_trainer.checkpoints import CheckpointStore
from yolo_trainer.dataset import Dataset, check_dataset
from yolo_trainer.hold import HoldRenewer
from yolo_trainer.interruption import Interrupted, Interruption
from yolo_trainer.job import Job, load_job
from yolo_trainer.model import check_model, find_model, resolve_weights
from yolo_trainer.outcome import ConfigInvalidError, LastWord, Reason, TrainerError, write_last_word
from yolo_trainer.progress import ProgressTracker, Stage
from yolo_trainer.server import ProgressServer, Sources
from yolo_trainer.settings import Settings
from yolo_trainer.train import Request, Training, check_values

log = logging.getLogger(__name__)


class Attempt:
    """One attempt at a job."""

    def __init__(self, settings: Settings, with_preflight: bool = True) -> None:
        """Prepare an attempt.

        Args:
            settings: the environment.
            with_preflight: look at the GPU's free memory first and keep within what was granted; without it the
                training takes what it wants, as a plain `yolo train` does.

        """
        self._settings = settings
        self._with_preflight = with_preflight
        self._interruption = Interruption()
        self._tracker = ProgressTracker()
        self._device: gpu_memory.Device | None = None
        self._renewer: HoldRenewer | None = None
        self._job: Job | None = None

    def run(self) -> LastWord:
        """Train, write the last word, and return it. Call in the main thread: it takes SIGTERM and SIGINT over."""
        self._interruption.install()
        try:
            word = self._outcome(self._train)
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
                f"{now.epoch} of {now.epochs} epochs are in the checkpoint" if now.epoch else "no epoch was finished"
            )
            return self._word(Reason.INTERRUPTED, f"asked to end; {where}")
        except TrainerError as error:
            return self._word(error.reason, str(error))
        except Exception as error:
            if _is_out_of_memory(error):
                return self._word(Reason.OUT_OF_MEMORY, self._out_of_memory(error))
            log.exception("The training failed")
            return self._word(Reason.ERROR, f"{type(error).__name__}: {error}")

    def _train(self) -> LastWord:
        self._job = job = load_job(self._settings.job_file)
        self._tracker.plan(job.training.epochs)
        self._start_services(job)
        scratch = offline.prepare()
        try:
            request = self._checked_request(job)
            with self._device_for(job):
                store = CheckpointStore(job.output.path, job.job.uid)
                metrics = Training(request, store, self._tracker, self._interruption).run()
            self._tracker.enter(Stage.EXPORTING)
            best = Path(results.weights_of(job.output.path)["best"])
            exports = results.export(best, job.output.export, job.training.image_size)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._tracker.enter(Stage.DONE)
        now = self._tracker.snapshot()
        message = f"{now.epoch} of {now.epochs} epochs, {results.sentence(metrics)}"
        if now.epoch < now.epochs:
            message += f"; stopped early: no improvement in {job.training.patience} epochs"
        return self._word(Reason.COMPLETED, message, exports)

    def _start_services(self, job: Job) -> None:
        if job.hold is not None:
            self._renewer = HoldRenewer(job.hold)
            self._renewer.start()
        sources = Sources(self._tracker.snapshot, self._gpu_memory_mib, self._hold_renewals)
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

    def _checked_request(self, job: Job) -> Request:
        """Check everything that can be checked without a GPU, cheap checks first."""
        arguments.check_names(job.training.args)
        results.check_exports(job.output.export)
        dataset = check_dataset(job.dataset.path, job.task, bool(job.training.args.get("single_cls")))
        split = job.training.args.get("split", "val")
        if split not in dataset.images:
            raise ConfigInvalidError(
                f"training.args.split is {split}, and the data set has {', '.join(dataset.images)}"
            )
        log.info("Data set %s: %s", dataset.folder, ", ".join(f"{n} {split}" for split, n in dataset.images.items()))
        data = _prepare_output(job, dataset)
        folders = (dataset.folder, job.output.path, job.output.path / "weights")
        model = find_model(job.model, folders)
        args = resolve_weights(job.training.args, folders)
        offline.seal()
        check_model(model, job.task)
        self._check_gpu(job)
        self._device = gpu_memory.open_device()
        request = Request(job, data, model, args, self._device.torch_device)
        check_values(request.arguments())
        return request

    def _check_gpu(self, job: Job) -> None:
        if not self._with_preflight:
            return
        seen: gpu_memory.GpuMemory | gpu_memory.GpuUnavailable
        try:
            seen = gpu_memory.read()
        except gpu_memory.GpuUnavailable as error:
            seen = error
        preflight.check_gpu(job.gpu, seen)
        if isinstance(seen, gpu_memory.GpuMemory):
            log.info("Preflight: %s; %d MiB are needed", preflight.figures(seen), job.gpu.memory_mib)
        else:
            log.warning("No GPU is visible (%s): training on the CPU", seen)

    def _device_for(self, job: Job) -> AbstractContextManager[object]:
        if self._device is None or (self._device.kind == "cuda" and not self._with_preflight):
            return nullcontext()
        return self._device.reserve(job.gpu.memory_mib)

    def _gpu_memory_mib(self) -> int:
        return self._device.allocated_mib() if self._device else 0

    def _hold_renewals(self) -> tuple[int, int]:
        return (self._renewer.renewed, self._renewer.failed) if self._renewer else (0, 0)

    def _out_of_memory(self, error: Exception) -> str:
        granted = f"{self._job.gpu.memory_mib} MiB were granted" if self._job else ""
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
            f"out of GPU memory {when}: {facts}. Ask for more gpu.memory, or for a "
            f"smaller batch or imageSize. ({first_line})"
        )

    def _word(self, reason: Reason, message: str, exports: dict[str, str] | None = None) -> LastWord:
        now = self._tracker.snapshot()
        finished = now.epoch > 0 and self._job is not None
        return LastWord(
            reason,
            message,
            epoch=now.epoch,
            epochs=now.epochs,
            metrics=now.metrics,
            weights=results.weights_of(self._job.output.path) if finished and self._job else {},
            exports=exports or {},
            peak_memory_mib=self._device.peak_mib() if self._device else 0,
        )


def _prepare_output(job: Job, dataset: Dataset) -> Path:
    """Create the output folder, and write down what is trained on."""
    output = job.output.path
    if output.resolve() == dataset.folder.resolve():
        raise ConfigInvalidError(f"output.path is the data set's own folder {output}: give the results another one")
    try:
        output.mkdir(parents=True, exist_ok=True)
        return dataset.written_to(output)
    except OSError as error:
        raise ConfigInvalidError(
            f"output.path {output} cannot be written by user {os.getuid()} ({error.strerror}): check the volume's "
            "permissions (fsGroup) and its free space"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Say whether an error means that the GPU is full; not all of them are `torch.OutOfMemoryError`."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "cublas_status_alloc_failed" in text)
    )
