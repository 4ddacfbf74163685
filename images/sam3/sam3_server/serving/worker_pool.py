"""The two workers of a server: the attached one has the GPU, the standby is prepared and holds no GPU memory.

The pool is the engine of the residency kit.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from residency.errors import LoadError
from sam3_server.errors import WorkerGoneError
from sam3_server.worker.interface import Launch, Worker
from sam3_server.worker.protocol import Query, Segmented
from sam3_server.worker.rgb_image import RgbImage

log = logging.getLogger(__name__)

WORK_SHARE = 0.75


@dataclass(frozen=True)
class WorkerTimeouts:
    """Seconds to prepare, to attach, to answer one request, and between SIGTERM and SIGKILL."""

    load: float
    request: float
    grace: float

    @property
    def work(self) -> float:
        """Seconds after which a worker cancels a request, between prompts or masks, before it counts as stuck."""
        return WORK_SHARE * self.request


class WorkerPool:
    """Starts and ends worker processes. Callers run one load or unload at a time."""

    def __init__(self, launch: Launch, timeouts: WorkerTimeouts) -> None:
        self._launch = launch
        self._timeouts = timeouts
        self._on_exit: Callable[[str], None] = lambda _: None
        self._standby: asyncio.Task[Worker] | None = None
        self.attached: Worker | None = None

    def watch(self, on_exit: Callable[[str], None]) -> None:
        """Call a function when the attached worker has ended, asked to or not: with what ended, and how."""
        self._on_exit = on_exit

    @property
    def is_attached(self) -> bool:
        """Whether a worker has the GPU."""
        return self.attached is not None

    residual_mib = 0
    """A worker that has ended keeps no GPU memory."""

    async def has_loaded(self) -> bool:
        """Return False: a worker takes the GPU only when it is attached."""
        return False

    @property
    def allocated_mib(self) -> int:
        """GPU memory in MiB that the attached worker holds, as it reported last."""
        return self.attached.allocated_mib if self.attached else 0

    @property
    def standby(self) -> Literal["none", "pending", "ready", "lost"]:
        """The standby's progress; `lost` when it could not be prepared, or has ended."""
        if self._standby is None:
            return "none"
        if not self._standby.done():
            return "pending"
        return "lost" if _unusable(self._standby) else "ready"

    @property
    def standby_ready(self) -> bool:
        """Whether a standby is prepared."""
        return self.standby == "ready"

    @property
    def standby_weights_mib(self) -> int:
        """Weights in MiB that the prepared standby holds resident in host memory; 0 without one."""
        return self._standby.result().weights_mib if self._standby is not None and self.standby == "ready" else 0

    def prepare_standby(self) -> asyncio.Task[Worker]:
        """Start a standby, unless one is prepared or being prepared."""
        if self._standby is None or _unusable(self._standby):
            self._standby = asyncio.create_task(self._start_prepared(), name="prepare standby")
            self._standby.add_done_callback(_log_failure)
        return self._standby

    async def prepare(self) -> None:
        """End a worker that an aborted load has left, and wait until the standby is prepared, or start one.

        Cancelling the wait does not stop the standby.

        Raises:
            EngineStuckError: that worker outlived SIGKILL.
            LoadError: its process could not be started, or the model cannot be read.
            WorkerGoneError: its process ended, or took too long.

        """
        await self.end_attached(0)
        await asyncio.shield(self.prepare_standby())

    async def attach(self) -> None:
        """Give the prepared standby the GPU, and have it answer a probe. It is ended when it fails.

        Raises:
            NotEnoughMemoryError: less was free than it needs.
            LoadError: there is no usable GPU, or the probe failed.
            WorkerGoneError: it ended, or took too long.

        """
        worker = await asyncio.shield(self.prepare_standby())
        self._standby, self.attached = None, worker
        try:
            attached = await worker.attach(self._timeouts.load)
        except BaseException:
            await self.end_attached(0)
            raise
        log.info("model attached", extra=attached.model_dump(exclude={"kind"}))

    async def segment(self, image: RgbImage, query: Query, client: str, computed: Callable[[], None]) -> Segmented:
        """Let the attached worker segment an image of a client; `computed` is called once it is not needed any more.

        Raises:
            TooMuchWorkError: the request takes more than one request may.
            WorkerGoneError: there is none, it ended, or it was stuck.
            ServiceError: the worker reports that it cannot.

        """
        timeouts = self._timeouts
        if self.attached is None:
            raise WorkerGoneError("the model was unloaded before the worker reached this request")
        return await self.attached.segment(image, query, client, timeouts.work, timeouts.request, computed)

    async def end_attached(self, grace: float | None = None) -> None:
        """End the worker that has the GPU; `grace` is in seconds, by default the server's.

        Raises:
            EngineStuckError: it outlived SIGKILL.

        """
        worker = self.attached
        if worker is not None:
            await worker.stop(self._timeouts.grace if grace is None else grace)
            self.attached = None

    async def end_standby(self) -> None:
        """End the standby, prepared or not."""
        standby, self._standby = self._standby, None
        if standby is None:
            return
        standby.cancel()
        await asyncio.wait({standby})
        if not standby.cancelled() and standby.exception() is None:
            await standby.result().stop(0)

    async def _start_prepared(self) -> Worker:
        try:
            worker = await self._launch(self._on_worker_exit)
        except OSError as error:
            raise LoadError(f"no worker process could be started: {error}") from error
        try:
            prepared = await worker.prepare(self._timeouts.load)
        except BaseException:
            await worker.stop(0)
            raise
        log.info("standby prepared", extra=prepared.model_dump(exclude={"kind"}))
        return worker

    def _on_worker_exit(self, worker: Worker) -> None:
        if worker is self.attached:
            self.attached = None
            self._on_exit(f"the worker {worker.end}")


def _unusable(standby: asyncio.Task[Worker]) -> bool:
    return standby.done() and (standby.cancelled() or standby.exception() is not None or not standby.result().alive)


def _log_failure(standby: asyncio.Task[Worker]) -> None:
    if not standby.cancelled() and (error := standby.exception()):
        log.warning("no standby could be prepared: %s", error)
