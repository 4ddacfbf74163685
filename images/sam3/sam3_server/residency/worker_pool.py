"""The two workers a server may have: the one that has the GPU, and the spare that is prepared but holds none of it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sam3_server.errors import LoadError, WorkerGoneError
from sam3_server.intake import image_decoder
from sam3_server.worker import Launch, Worker
from sam3_server.worker.protocol import Query, Segmented

log = logging.getLogger(__name__)

WORK_SHARE = 0.75


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds: to prepare, to attach, to answer one request, and between SIGTERM and SIGKILL."""

    load: float
    request: float
    grace: float

    @property
    def work(self) -> float:
        """After which a worker gives a request up by itself, between prompts or masks, before it is taken for stuck."""
        return WORK_SHARE * self.request


class Workers:
    """Starts, keeps and ends worker processes. Callers see to it that one transition runs at a time."""

    def __init__(self, launch: Launch, limits: Limits, on_loss: Callable[[Worker], None]) -> None:
        """`on_loss` is called when the attached worker has ended, wanted or not."""
        self._launch = launch
        self._limits = limits
        self._on_loss = on_loss
        self._spare: asyncio.Task[Worker] | None = None
        self.attached: Worker | None = None

    @property
    def allocated_mib(self) -> int:
        """GPU memory in MiB that the attached worker holds, by its own last word."""
        return self.attached.allocated_mib if self.attached else 0

    @property
    def spare(self) -> Literal["none", "pending", "ready", "lost"]:
        """Whether a prepared worker stands by; `lost` when it could not be prepared, or has ended."""
        if self._spare is None:
            return "none"
        if not self._spare.done():
            return "pending"
        return "lost" if _useless(self._spare) else "ready"

    @property
    def spare_weights_mib(self) -> int:
        """Weights in MiB that the prepared spare holds resident in host memory; 0 without one."""
        return self._spare.result().weights_mib if self._spare is not None and self.spare == "ready" else 0

    def prepare(self) -> asyncio.Task[Worker]:
        """See to it that a spare is ready or in the making."""
        if self._spare is None or _useless(self._spare):
            self._spare = asyncio.create_task(self._prepared(), name="prepare worker")
            self._spare.add_done_callback(_note)
        return self._spare

    async def ready_spare(self) -> None:
        """Wait until the spare is prepared. Giving up waiting does not stop it.

        Raises:
            LoadError: its process could not be started, or the model cannot be read.
            WorkerGoneError: its process ended, or took too long.

        """
        await asyncio.shield(self.prepare())

    async def attach_spare(self) -> None:
        """Give the prepared spare the GPU; it proves itself on a probe. It is ended when it fails.

        Raises:
            NotEnoughMemoryError: less was free than it needs.
            LoadError: there is no usable GPU, or the probe failed.
            WorkerGoneError: it ended, or took too long.

        """
        worker = await asyncio.shield(self.prepare())
        self._spare, self.attached = None, worker
        try:
            attached = await worker.attach(self._limits.load)
        except BaseException:
            await self.end_attached(0)
            raise
        log.info("model attached", extra=attached.model_dump(exclude={"kind"}))

    async def segment(self, image: image_decoder.RgbImage, query: Query, computed: Callable[[], None]) -> Segmented:
        """Let the attached worker segment one image; `computed` is called when the request needs it no more.

        Raises:
            TooMuchWorkError: it turns out to be more than one request may ask for.
            WorkerGoneError: there is none, it ended, or it was stuck.
            ServiceError: it says itself that it cannot.

        """
        limits = self._limits
        if self.attached is None:
            raise WorkerGoneError("the model was taken away before its turn for this request came")
        return await self.attached.segment(image, query, limits.work, limits.request, computed)

    async def end_attached(self, grace: float | None = None) -> None:
        """End the worker that has the GPU; `grace` is in seconds, by default the server's.

        Raises:
            WorkerStuckError: it outlived SIGKILL.

        """
        worker = self.attached
        if worker is not None:
            await worker.stop(self._limits.grace if grace is None else grace)
            self.attached = None

    async def end_spare(self) -> None:
        """End the spare, ready or not."""
        spare, self._spare = self._spare, None
        if spare is None:
            return
        spare.cancel()
        await asyncio.wait({spare})
        if not spare.cancelled() and spare.exception() is None:
            await spare.result().stop(0)

    async def _prepared(self) -> Worker:
        try:
            worker = await self._launch(self._ended)
        except OSError as error:
            raise LoadError(f"no worker process could be started: {error}") from error
        try:
            prepared = await worker.prepare(self._limits.load)
        except BaseException:
            await worker.stop(0)
            raise
        log.info("worker prepared", extra=prepared.model_dump(exclude={"kind"}))
        return worker

    def _ended(self, worker: Worker) -> None:
        if worker is self.attached:
            self.attached = None
            self._on_loss(worker)


def _useless(spare: asyncio.Task[Worker]) -> bool:
    return spare.done() and (spare.cancelled() or spare.exception() is not None or not spare.result().alive)


def _note(spare: asyncio.Task[Worker]) -> None:
    if not spare.cancelled() and (error := spare.exception()):
        log.warning("no worker could be prepared: %s", error)
