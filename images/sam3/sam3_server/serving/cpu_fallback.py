"""Answers from the CPU while the GPU is lent out, slowly. The worker lives as long as the hold."""

import asyncio
import contextlib
import logging

from residency.errors import BusyError, ServiceError
from residency.in_flight import InFlight
from sam3_server.decode_queue import decode_queue
from sam3_server.serving.worker_pool import WorkerPool, WorkerTimeouts
from sam3_server.worker.interface import Launch
from sam3_server.worker.protocol import Query, Segmented
from sam3_server.worker.rgb_image import RgbImage

log = logging.getLogger(__name__)


class CpuFallback:
    """A second worker, which uses no GPU. `in_flight` counts its requests, `decode_queue` is the queue before it.

    `timeouts` are longer than the GPU's: one image takes minutes on the CPU.
    """

    def __init__(self, launch: Launch, timeouts: WorkerTimeouts, max_in_flight: int) -> None:
        self.in_flight = InFlight()
        self.decode_queue = decode_queue()
        self._pool = WorkerPool(launch, timeouts)
        self._pool.watch(lambda what: log.warning("%s (on the CPU)", what))
        self._max_in_flight = max_in_flight
        self._lock = asyncio.Lock()
        self._offered = False

    @property
    def offered(self) -> bool:
        """Whether requests may be sent here: a worker is attached or being prepared."""
        return self._offered

    def start(self) -> None:
        """Start the worker, unless it runs."""
        if not self._offered:
            log.info("answering from the CPU while the GPU is lent out")
            self._offered = True
            self._pool.prepare_standby()

    async def segment(self, image: RgbImage, query: Query, client: str) -> Segmented:
        """Segment one image of a client once the worker is attached.

        Raises:
            ServiceError: its subclasses say what stood in the way.

        """
        if self.in_flight.count >= self._max_in_flight:
            raise BusyError(f"{self.in_flight.count} requests are in flight on the CPU, as many as this server takes")
        with self.in_flight.track() as computed:
            await asyncio.shield(
                asyncio.create_task(self._ensure_attached())
            )  # a client that disconnects must not cancel it for others
            return await self._pool.segment(image, query, client, computed)

    async def _ensure_attached(self) -> None:
        async with self._lock:
            if self._pool.attached is None:
                await self._pool.prepare()
                await self._pool.attach()

    async def end_when_idle(self) -> None:
        """End the worker once no request waits for it, and offer it to no further request."""
        self._offered = False
        if not self.in_flight.count:
            await self.end()

    async def end(self) -> None:
        """End the worker now, and offer it to no further request."""
        self._offered = False
        with contextlib.suppress(ServiceError):  # it has no GPU memory, so nothing depends on its end
            await self._pool.end_standby()
            await self._pool.end_attached(0)
