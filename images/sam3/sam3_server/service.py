"""The one coordinator: every change of state happens here, one at a time, under one lock.

    segment  admitted? ─► model loaded, or load it ─► decode ─► ask the worker
    unload   close the gate at once ─► abort a load ─► drain ─► end the worker ─► measure
    load     end the hold ─► memory measured free ─► attach a prepared worker ─► probe
    keep     a hold nobody renewed ends; what was unloaded for it is loaded again when memory allows

A hold is placed before anything is awaited, so no request slips in between the order to unload and the unload.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from gpu_memory import GpuMemory, GpuUnavailable
from sam3_server import exemplars, images
from sam3_server.errors import (
    AbortedError,
    BusyError,
    GateClosedError,
    NotEnoughMemoryError,
    ServiceError,
    WorkerGoneError,
    WorkerStuckError,
)
from sam3_server.flight import Flight
from sam3_server.hold import Claim, Hold, HoldBook, Terms
from sam3_server.measuring import Read, free_mib, measure, settled_free_mib
from sam3_server.metrics import Metrics
from sam3_server.residency import Reload, State, admit, lent_to, require_memory
from sam3_server.worker import Launch, Worker
from sam3_server.worker.protocol import Query, Segmented
from sam3_server.workers import Limits, Workers

log = logging.getLogger(__name__)

DECODERS = 2
KEEP_SECONDS = 0.5
SERVING = (State.LOADED, State.DRAINING)
LAST_WORDS_SECONDS = 2.0


@dataclass(frozen=True)
class Policy:
    """What the service goes by. Sizes in MiB, times in seconds; `need_mib` 0 computes on the CPU, without a gate."""

    need_mib: int
    standby: bool
    max_in_flight: int
    max_pixels: int
    limits: Limits


@dataclass(frozen=True)
class Unloaded:
    """What an unload did: MiB as measured (None without a GPU), requests that finished, and that were aborted."""

    freed_mib: int
    free_mib: int | None
    drained: int
    aborted: int


@dataclass(frozen=True)
class Segmentation:
    """What was found on an image of this upright size in pixels."""

    width: int
    height: int
    found: Segmented


class Service:
    """The resident's behaviour. `state`, `error`, `refused` and the properties may be read at any time."""

    def __init__(self, policy: Policy, launch: Launch, read: Read, metrics: Metrics) -> None:
        self.policy = policy
        self.state = State.UNLOADED
        self.error: str | None = None
        self.refused = 0
        self.flight = Flight()
        self._read = read
        self._metrics = metrics
        self._holds = HoldBook()
        self._workers = Workers(launch, policy.limits, self._lost)
        self._lock = asyncio.Lock()
        self._decoders = asyncio.Semaphore(DECODERS)
        self._loading: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._reload = Reload()

    @staticmethod
    def now() -> float:
        """Return the seconds of the clock that holds are counted on."""
        return time.monotonic()

    @property
    def loaded(self) -> bool:
        """Whether the model is on the device and answers."""
        return self.state is State.LOADED

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        return self._holds.active(self.now())

    @property
    def worker_allocated_mib(self) -> int:
        """GPU memory that the worker holds, by its own last word."""
        return self._workers.allocated_mib

    def start(self) -> None:
        """Begin to watch over holds."""
        self._keeper = asyncio.create_task(self._keep(), name="keep holds")

    async def close(self) -> None:
        """End every worker. The service is not to be used after."""
        if self._keeper is not None:
            self._keeper.cancel()
        await self._abort_load()
        async with self._lock:
            await self._workers.end_spare()
            await self._end_worker(None)
            self._set(State.UNLOADED)

    async def measure(self) -> GpuMemory:
        """Read the GPU's memory now.

        Raises:
            GpuUnavailable: there is no GPU, or it cannot be measured.

        """
        return await measure(self._read)

    async def segment(self, data: bytes, query: Query) -> Segmentation:
        """Find a query's concepts on an encoded image; the model is loaded for it if nothing forbids that.

        Raises:
            ServiceError: its subclasses say what stood in the way.

        """
        self._admit()
        with self.flight.one():
            await asyncio.to_thread(images.check, data, self.policy.max_pixels)
            if self.state not in SERVING:
                await self._load_together()
            async with self._decoders:
                image = await asyncio.to_thread(images.decode, data, self.policy.max_pixels)
                found = await self._ask(image, exemplars.on_image(query, image.width, image.height))
        return Segmentation(image.width, image.height, found)

    async def unload(self, terms: Terms | None, drain_timeout: float) -> Unloaded:
        """Place the hold if there are terms, drain for at most `drain_timeout` seconds, and end the worker.

        Raises:
            FenceError: the terms are not the newest; nothing was changed.
            WorkerStuckError: the worker outlived SIGKILL.

        """
        if terms is not None:
            self._place(terms)
        self._reload.drop()
        aborted = await self._abort_load()
        async with self._lock:
            unloaded = await self._give_up(drain_timeout, aborted)
            if self.hold is not None and self.policy.standby:
                self._workers.prepare()
            else:
                await self._workers.end_spare()
        log.info("unloaded", extra=vars(unloaded))
        return unloaded

    def renew(self, fence: int, renew_key: str) -> Hold:
        """Renew the hold.

        Raises:
            FenceError: there is no such hold.
            RenewKeyError: the key is another.

        """
        return self._holds.renew(fence, renew_key, self.now())

    async def load(self, claim: Claim | None) -> float:
        """End the claimant's hold and load; without a claim there must be no hold. Returns the seconds it took.

        Raises:
            FenceError: somebody else has the hold; nothing was changed.
            ServiceError: the load failed; the hold is ended all the same, and the server tries again by itself.

        """
        self._holds.end(claim, self.now())
        began = self.now()
        if not self.loaded:
            self._reload.want()
            await self._load_together()
        return self.now() - began

    def _place(self, terms: Terms) -> None:
        before = self.hold
        hold = self._holds.place(terms, self.now())
        if before is None or before.placed_at != hold.placed_at:
            self.refused = 0
            log.info("hold placed", extra={"holder": terms.holder, "fence": terms.fence, "ttl": terms.ttl_seconds})

    def _admit(self) -> None:
        hold = self.hold
        refusal = admit(self.state, hold, self.flight.count, self.policy.max_in_flight)
        if refusal is None:
            return
        self.refused += hold is not None
        self._metrics.refused.inc()
        raise BusyError(refusal.reason) if refusal.busy else GateClosedError(refusal.reason, hold)

    async def _ask(self, image: images.RgbImage, query: Query) -> Segmented:
        try:
            return await self._workers.segment(image, query)
        except WorkerGoneError as error:
            if self.hold is None and self.state not in (State.DRAINING, State.UNLOADING):
                raise
            raise AbortedError("the request was aborted: the model had to be unloaded", self.hold) from error

    async def _load_together(self) -> None:
        """Wait for the load in progress, or begin one: however many ask, the model is loaded once."""
        self._require_no_hold()
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(), name="load")
        loading = self._loading
        await asyncio.wait({loading})
        if loading.cancelled():
            raise AbortedError("the load was aborted: the GPU is needed elsewhere", self.hold)
        loading.result()

    async def _load(self) -> None:
        async with self._lock:
            if self.loaded:
                return
            began = self.now()
            try:
                await self._require_permission()
                await self._attach()
            except BaseException as error:
                self._set(State.FAILED if isinstance(error, WorkerStuckError) else State.UNLOADED)
                if isinstance(error, Exception):
                    self._note_failure(error)
                raise
            self._set(State.LOADED)
            self.error = None
            self._reload.drop()
            self._metrics.load_seconds.observe(self.now() - began)

    async def _attach(self) -> None:
        self._set(State.LOADING)
        await self._workers.end_attached(0)  # what an aborted load may have left
        await self._workers.ready_spare()
        await self._require_permission()  # the imports took their time, and the memory may be gone
        await self._workers.attach_spare()

    def _require_no_hold(self) -> None:
        hold = self.hold
        if hold is not None:
            raise GateClosedError(lent_to(hold), hold)

    async def _require_permission(self) -> None:
        self._require_no_hold()
        if self.policy.need_mib:
            require_memory(await self._measured(), self.policy.need_mib)

    async def _measured(self) -> int:
        try:
            return (await self.measure()).free_mib
        except GpuUnavailable as error:
            raise NotEnoughMemoryError(f"free GPU memory cannot be measured, so nothing is loaded: {error}") from error

    def _note_failure(self, error: Exception) -> None:
        if str(error) != self.error:  # the same failure, tried again every second, is told once
            log.warning("load failed: %s", error, exc_info=None if isinstance(error, ServiceError) else error)
        self.error = str(error)
        waiting = isinstance(error, NotEnoughMemoryError)
        self._reload.failed(self.now(), patient=waiting)
        self._metrics.load_failures.labels("memory" if waiting else "error").inc()

    async def _abort_load(self) -> int:
        """Cancel a load in progress, and return how many requests waited for it."""
        loading = self._loading
        if loading is None or loading.done():
            return 0
        waiting = self.flight.count
        loading.cancel()
        await asyncio.wait({loading})
        return waiting

    async def _give_up(self, drain_timeout: float, aborted: int) -> Unloaded:
        began = self.now()
        requests = left = 0
        if self._workers.attached is not None:
            self._set(State.DRAINING)
            requests = self.flight.count
            left = await self.flight.landed(drain_timeout)
        before = await free_mib(self._read)
        held = self._workers.allocated_mib
        await self._end_worker(grace=0 if left else None)
        free = before if not held or before is None else await settled_free_mib(self._read, before + held)
        self._set(State.UNLOADED)
        self._metrics.unload_seconds.observe(self.now() - began)
        freed = max(0, free - before) if free is not None and before is not None else 0
        return Unloaded(freed, free, requests - left, aborted + left)

    async def _end_worker(self, grace: float | None) -> None:
        if self._workers.attached is None:
            return
        self._set(State.UNLOADING)
        try:
            await self._workers.end_attached(grace)
        except WorkerStuckError as error:
            self.error = str(error)
            self._set(State.FAILED)
            raise
        await self.flight.landed(LAST_WORDS_SECONDS)  # aborted requests answer before the unload does

    def _lost(self, worker: Worker) -> None:
        """The attached worker has ended: unasked while loaded, late when it had been stuck."""
        if self.loaded:
            self.error = f"the worker {worker.end} without being asked to; the next request loads the model again"
            self._metrics.worker_deaths.inc()
            log.error(self.error)
        if self.state in (State.LOADED, State.FAILED):
            self._set(State.UNLOADED)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            expired = self._holds.expire(self.now())
            if expired is not None:
                log.warning("hold expired", extra={"holder": expired.terms.holder, "fence": expired.terms.fence})
                self._reload.want()
            if self.state is State.UNLOADED and self._reload.due(self.now()):
                with contextlib.suppress(
                    Exception
                ):  # logged where it failed, kept in `error`, tried again after a delay
                    await self._load_together()

    def _set(self, state: State) -> None:
        if state is not self.state:
            log.info("state %s", state.value, extra={"was": self.state.value})
            self.state = state
