"""An inference request on its way: admission, reading, a loaded model, the worker's turn, the answer."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from residency.coordinator import Coordinator
from residency.errors import AbortedError
from residency.retry_after import Step
from residency.state import SERVING, State
from sam3_server.decode_queue import decode_queue
from sam3_server.errors import WorkerGoneError
from sam3_server.intake.body import Body
from sam3_server.intake.interface import ParsedRequest, RequestReader
from sam3_server.intake.protocol import Route
from sam3_server.serving.cpu_fallback import CpuFallback
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.worker_pool import WorkerPool
from sam3_server.worker.protocol import Segmented


@dataclass(frozen=True)
class Segmentation:
    """What was found for a request; `degraded` when the CPU answered for the GPU."""

    request: ParsedRequest
    found: Segmented
    degraded: bool = False


class SegmentationService:
    """Serves inference requests with the model that the coordinator loads and unloads."""

    def __init__(
        self,
        coordinator: Coordinator,
        pool: WorkerPool,
        fallback: CpuFallback | None,
        reader: RequestReader,
        metrics: Metrics,
    ) -> None:
        """`fallback` answers while the GPU is lent out."""
        self._coordinator = coordinator
        self._pool = pool
        self._fallback = fallback
        self._reader = reader
        self._metrics = metrics
        self._decode_queue = decode_queue()

    @property
    def cpu_fallback(self) -> CpuFallback | None:
        """What answers from the CPU now, if anything does."""
        fallback = self._fallback
        return fallback if fallback is not None and self._coordinator.hold is not None and fallback.offered else None

    @contextlib.asynccontextmanager
    async def admit(self, client: str) -> AsyncIterator[None]:
        """Admit a client's request for a `with` block, before a byte of its body is read.

        Raises:
            AdmissionClosedError: the GPU is lent out, or the model is being unloaded.
            BusyError: too many requests are in flight, or wait.
            TooManyRequestsError: this client has too many of them.

        """
        await self._coordinator.idle_unload.wait()
        admission = self._coordinator.admission
        if self.cpu_fallback is None:
            async with admission.admit(client, lambda: self._coordinator.state):
                yield
            return
        admission.quota.require(client)
        with admission.quota.occupy(client):
            yield

    def require_open(self) -> None:
        """Pass while bodies of admitted requests may continue to arrive; raises AdmissionClosedError."""
        if self.cpu_fallback is None:
            self._coordinator.admission.require_open(self._coordinator.state)

    async def segment(self, route: Route, body: Body, client: str) -> Segmentation:
        """Find a request's concepts on its image, and load the model if nothing forbids that. Close the body.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or why it cannot be served.

        """
        with body:
            fallback = self.cpu_fallback
            if fallback is not None:
                return await self._segment_on_cpu(route, body, client, fallback)
            self.require_open()
            with self._coordinator.in_flight.track() as computed:
                async with self._decode_queue.turn(client):
                    request = await self._reader.read(route, body, client)
                    body.close()
                    if self._coordinator.state not in SERVING:
                        await self._coordinator.load_once()
                    found = await self._segment_on_gpu(request, client, computed)
        self._metrics.record_answer(found)
        self._coordinator.durations.record(Step.REQUEST, found.seconds)
        return Segmentation(request, found)

    async def respond(self, done: Segmentation, client: str) -> bytes:
        """Return what was found in the format of the other server whose route it is, as JSON.

        Raises:
            ServiceError: its subclasses say why it cannot be served.

        """
        assert done.request.terms is not None
        return await self._reader.respond(done.request.terms, done.found.findings, client)

    async def _segment_on_cpu(self, route: Route, body: Body, client: str, fallback: CpuFallback) -> Segmentation:
        async with fallback.decode_queue.turn(client):
            request = await self._reader.read(route, body, client)
            body.close()
            found = await fallback.segment(request.image, request.query, client)
        self._metrics.degraded.inc()
        return Segmentation(request, found, degraded=True)

    async def _segment_on_gpu(self, request: ParsedRequest, client: str, computed: Callable[[], None]) -> Segmented:
        try:
            return await self._pool.segment(request.image, request.query, client, computed)
        except WorkerGoneError as error:
            hold = self._coordinator.hold
            if hold is None and self._coordinator.state not in (State.DRAINING, State.UNLOADING):
                raise
            raise AbortedError("the request was aborted: the model had to be unloaded", hold) from error
