"""An inference request on its way: admission, reading, a loaded model, the worker's turn, the answer."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from residency.coordinator import Coordinator
from residency.errors import AbortedError, ServiceError
from residency.retry_after import Step
from residency.state import SERVING, State
from sam3_server.decode_queue import decode_queue
from sam3_server.errors import TooMuchWorkError, WorkerGoneError
from sam3_server.intake.body import Body
from sam3_server.intake.interface import ParsedRequest, RequestReader
from sam3_server.intake.protocol import ImageBatch, Route, Terms
from sam3_server.serving.cpu_fallback import CpuFallback
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.worker_pool import WorkerPool
from sam3_server.worker.protocol import Segmented

MOST_ANSWER_BYTES = 64 << 20  # of the answers of one request, without the last of them


@dataclass(frozen=True)
class Segmentation:
    """What was found on an image; `degraded` when the CPU answered for the GPU. The pixels are not kept."""

    terms: Terms | None
    found: Segmented
    degraded: bool = False


Outcome = Segmentation | ServiceError
ReadImage = Callable[[], Awaitable[ParsedRequest | ImageBatch]]


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
        done = await self.segment_all(route, body, client)
        assert isinstance(done, Segmentation), "this route has one image"
        return done

    async def segment_all(self, route: Route, body: Body, client: str) -> Segmentation | list[Outcome]:
        """Do the same for a request that may have several images. An error about one image does not end the others.

        Each image waits in the queues like a request of its own, once the image before it has been segmented. So at
        most one of them is decoded, and other clients have their turns in between.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or why it cannot be served.

        """
        with body:
            done = await self._segment(partial(self._read, route, body, client), client)
            if isinstance(done, Segmentation):
                return done
            outcomes: list[Outcome] = []
            for place in range(done.count):
                read = partial(self._read_image, done, place, body, client)
                outcomes.append(await self._segment_one(read, client, outcomes))
            return outcomes

    async def respond(self, done: Segmentation, client: str) -> bytes:
        """Return what was found in the format of the other server whose route it is, as JSON.

        Raises:
            ServiceError: its subclasses say why it cannot be served.

        """
        assert done.terms is not None
        return await self._reader.respond(done.terms, done.found.findings, client)

    async def _segment_one(self, read: ReadImage, client: str, before: Sequence[Outcome]) -> Outcome:
        """Return what was found on one of several images, or the error about it."""
        try:
            _require_room(before)
            done = await self._segment(read, client)
        except ServiceError as error:
            return _without_frames(error)
        assert isinstance(done, Segmentation)
        return done

    async def _read(self, route: Route, body: Body, client: str) -> ParsedRequest | ImageBatch:
        request = await self._reader.read(route, body, client)
        if isinstance(request, ParsedRequest):
            body.close()
        return request

    async def _read_image(self, batch: ImageBatch, place: int, body: Body, client: str) -> ParsedRequest:
        request = await self._reader.read_image(body, batch, place, client)
        if place == batch.count - 1:
            body.close()
        return request

    async def _segment(self, read: ReadImage, client: str) -> Segmentation | ImageBatch:
        """Read an image in its client's turn and segment it. If there are several images, return them unsegmented."""
        fallback = self.cpu_fallback
        if fallback is not None:
            return await self._segment_on_cpu(read, client, fallback)
        self.require_open()
        with self._coordinator.in_flight.track() as computed:
            async with self._decode_queue.turn(client):
                request = await read()
                if isinstance(request, ImageBatch):
                    return request
                if self._coordinator.state not in SERVING:
                    await self._coordinator.load_once()
                found = await self._segment_on_gpu(request, client, computed)
        self._metrics.record_answer(found)
        self._coordinator.durations.record(Step.REQUEST, found.seconds)
        return Segmentation(request.terms, found)

    async def _segment_on_cpu(self, read: ReadImage, client: str, fallback: CpuFallback) -> Segmentation | ImageBatch:
        async with fallback.decode_queue.turn(client):
            request = await read()
            if isinstance(request, ImageBatch):
                return request
            found = await fallback.segment(request.image, request.query, client)
        self._metrics.degraded.inc()
        return Segmentation(request.terms, found, degraded=True)

    async def _segment_on_gpu(self, request: ParsedRequest, client: str, computed: Callable[[], None]) -> Segmented:
        try:
            return await self._pool.segment(request.image, request.query, client, computed)
        except WorkerGoneError as error:
            hold = self._coordinator.hold
            if hold is None and self._coordinator.state not in (State.DRAINING, State.UNLOADING):
                raise
            raise AbortedError("the request was aborted: the model had to be unloaded", hold) from error


def _without_frames(error: ServiceError) -> ServiceError:
    """Return the error without the frames that it and its causes were raised in: they keep the image in memory."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def _require_room(outcomes: Sequence[Outcome]) -> None:
    """Pass if the answers so far leave room for another; raises TooMuchWorkError."""
    size = sum(len(each.found.findings) for each in outcomes if isinstance(each, Segmentation))
    if size > MOST_ANSWER_BYTES:
        raise TooMuchWorkError(
            f"the answers for the images before it have more than {MOST_ANSWER_BYTES >> 20} MiB; send this image in "
            "another request"
        )
