"""Answers from the CPU while the GPU is lent out: slow, but answers. The worker lives as long as the hold."""

import asyncio
import contextlib
import logging

from sam3_server.errors import BusyError, ServiceError
from sam3_server.fair_queue import decoded_line
from sam3_server.intake.image_decoder import RgbImage
from sam3_server.residency.in_flight import Flight
from sam3_server.residency.worker_pool import Limits, Workers
from sam3_server.worker import Launch, Worker
from sam3_server.worker.protocol import Query, Segmented

log = logging.getLogger(__name__)


class CpuFallback:
    """A worker of its own, which touches no GPU; `flight` counts the requests that it serves, `line` is before it.

    `limits` are the CPU's, on which one image takes minutes that the GPU does in a part of a second.
    """

    def __init__(self, launch: Launch, limits: Limits, max_in_flight: int) -> None:
        self.flight = Flight()
        self.line = decoded_line()
        self._workers = Workers(launch, limits, self._lost)
        self._max_in_flight = max_in_flight
        self._lock = asyncio.Lock()
        self._offered = False

    @property
    def offered(self) -> bool:
        """Whether requests may come here: a worker is there, or in the making."""
        return self._offered

    def begin(self) -> None:
        """Start the worker, unless it is there already."""
        if not self._offered:
            log.info("answering from the CPU while the GPU is lent out")
            self._offered = True
            self._workers.prepare()

    async def segment(self, image: RgbImage, query: Query) -> Segmented:
        """Let the worker segment one image, once it is ready.

        Raises:
            ServiceError: its subclasses say what stood in the way.

        """
        if self.flight.count >= self._max_in_flight:
            raise BusyError(f"{self.flight.count} requests are in flight on the CPU, as many as this server takes")
        with self.flight.one() as computed:
            await asyncio.shield(asyncio.create_task(self._attached()))  # a client that leaves ends it for no other
            return await self._workers.segment(image, query, computed)

    async def _attached(self) -> None:
        async with self._lock:
            if self._workers.attached is None:
                await self._workers.ready_spare()
                await self._workers.attach_spare()

    async def end_when_idle(self) -> None:
        """End the worker once nobody waits for it; requests that come later are not to be sent here."""
        self._offered = False
        if not self.flight.count:
            await self.end()

    async def end(self) -> None:
        """End the worker now."""
        self._offered = False
        with contextlib.suppress(ServiceError):  # it holds no GPU, so nothing depends on its end
            await self._workers.end_spare()
            await self._workers.end_attached(0)

    def _lost(self, worker: Worker) -> None:
        log.warning("the worker on the CPU %s", worker.end)
