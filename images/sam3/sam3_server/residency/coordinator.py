"""The one coordinator: every change of state happens here, one at a time, under one lock.

    admitted a place, or why not ─► the body may arrive
    segment  read and decode the body ─► model loaded, or load it ─► ask the worker
    unload   close the gate at once ─► abort a load ─► drain ─► end the worker ─► measure
    load     end the hold ─► memory measured free ─► attach a prepared worker ─► probe
    tend     a hold nobody renewed ends; what was unloaded for it is loaded again when memory allows

A hold is placed before anything is awaited, so no request slips in between the order to unload and the unload.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gpu_memory import GpuMemory, GpuUnavailable
from sam3_server.api.body_receiver import Body
from sam3_server.errors import (
    AbortedError,
    BusyError,
    GateClosedError,
    NotEnoughMemoryError,
    ServiceError,
    TooManyError,
    WorkerGoneError,
    WorkerStuckError,
)
from sam3_server.fair_queue import decoded_line
from sam3_server.intake import Asked, Intake
from sam3_server.intake.image_decoder import RgbImage
from sam3_server.intake.protocol import Route
from sam3_server.residency.admission import Gate
from sam3_server.residency.client_quota import Places
from sam3_server.residency.cpu_fallback import CpuFallback
from sam3_server.residency.gpu_measurement import Read, free_mib, measure, settled_free_mib
from sam3_server.residency.hold import Claim, Hold, Terms
from sam3_server.residency.hold_file import HoldFile
from sam3_server.residency.host_memory import HostBudget
from sam3_server.residency.in_flight import Flight
from sam3_server.residency.metrics import Metrics
from sam3_server.residency.retry_after import Pace, Step, retry_after, until_end
from sam3_server.residency.standby import Standby
from sam3_server.residency.state import Reload, State, require_memory, unready
from sam3_server.residency.worker_pool import Limits, Workers
from sam3_server.worker import Launch, Worker
from sam3_server.worker.protocol import Query, Segmented

log = logging.getLogger(__name__)

KEEP_SECONDS = 0.5
SERVING = (State.LOADED, State.DRAINING)
LAST_WORDS_SECONDS = 2.0


@dataclass(frozen=True)
class Policy:
    """What the service goes by. Sizes in MiB, times in seconds; `need_mib` 0 computes on the CPU, without a gate.

    `host` says whether a standby fits into host memory, `held_wait` how long requests wait for the end of a turn, and
    `hold_file` where a hold is kept for a server that is restarted. `preload` keeps the model loaded without being
    asked, `ready_when_loaded` makes the server ready only while it is.
    """

    need_mib: int
    standby: bool
    host: HostBudget
    max_in_flight: int
    max_per_client: int
    held_wait: float
    hold_file: Path | None
    limits: Limits
    preload: bool = False
    ready_when_loaded: bool = False


@dataclass(frozen=True)
class Unloaded:
    """What an unload did: MiB as measured (None without a GPU), requests that finished, and that were aborted."""

    freed_mib: int
    free_mib: int | None
    drained: int
    aborted: int


@dataclass(frozen=True)
class Segmentation:
    """What was found for a request; `degraded` when the CPU answered for the GPU."""

    asked: Asked
    found: Segmented
    degraded: bool = False


class Service:
    """The resident's behaviour. `state`, `error`, `gate` and the properties may be read at any time.

    `now` is the clock that holds are counted on, in seconds; `fallback` answers while the GPU is lent out.
    """

    def __init__(
        self,
        policy: Policy,
        launch: Launch,
        read: Read,
        metrics: Metrics,
        intake: Intake,
        fallback: CpuFallback | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.state = State.UNLOADED
        self.error: str | None = None
        self.flight = Flight()
        places = Places(policy.max_in_flight, policy.max_per_client)
        self.gate = Gate(places, policy.held_wait, HoldFile(policy.hold_file), metrics, now)
        self.now = now
        self._read = read
        self._metrics = metrics
        self._intake = intake
        self._workers = Workers(launch, policy.limits, self._lost)
        self._standby = Standby(self._workers, policy.standby, fallback, policy.host)
        self._lock = asyncio.Lock()
        self._line = decoded_line()
        self._loading: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._reload = Reload()
        self._pace = Pace()

    @property
    def loaded(self) -> bool:
        """Whether the model is on the device and answers."""
        return self.state is State.LOADED

    @property
    def unready(self) -> str | None:
        """Why requests are not to be sent here, if so."""
        return unready(self.state, self.hold, self.error, self.policy.ready_when_loaded)

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        return self.gate.hold

    @property
    def standby_ready(self) -> bool:
        """Whether a prepared worker stands by."""
        return self._workers.spare == "ready"

    @property
    def standby_weights_mib(self) -> int:
        """Weights in MiB that the standby holds resident in host memory."""
        return self._workers.spare_weights_mib

    @property
    def worker_allocated_mib(self) -> int:
        """GPU memory that the worker holds, by its own last word."""
        return self._workers.allocated_mib

    def start(self) -> None:
        """Begin to watch over holds, and to load if that is to be done without being asked."""
        if self.policy.preload:
            self._reload.want()
        self._keeper = asyncio.create_task(self._keep(), name="keep holds")

    async def close(self) -> None:
        """End every worker. The service is not to be used after."""
        if self._keeper is not None:
            self._keeper.cancel()
        await self._abort_load()
        if self._standby.fallback is not None:
            await self._standby.fallback.end()
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

    @contextlib.asynccontextmanager
    async def admitted(self, client: str) -> AsyncIterator[None]:
        """Give a client's request a place for a `with` block, before a byte of its body is read.

        Raises:
            GateClosedError: the GPU is lent out, or the model is being unloaded.
            BusyError: too many requests are in flight, or wait.
            TooManyError: this client has too many of them.

        """
        if self._offered is None:
            async with self.gate.admitted(client, lambda: self.state, self.flight):
                yield
            return
        self.gate.places.require(client)
        with self.gate.places.one(client):
            yield

    def require_open(self) -> None:
        """Pass while bodies of requests that have a place may go on to arrive; raises GateClosedError."""
        if self._offered is None:
            self.gate.require_open(self.state, self.flight)

    async def segment(self, route: Route, body: Body, client: str) -> Segmentation:
        """Find a request's concepts on its image; the model is loaded for it if nothing forbids that. Closes the body.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or what stood in the way.

        """
        with body:
            fallback = self._offered
            if fallback is not None:
                return await self._degraded(route, body, client, fallback)
            self.gate.require_open(self.state, self.flight)
            with self.flight.one() as computed:
                async with self._line.turn(client):
                    asked = await self._intake.read(route, body, client)
                    body.close()
                    if self.state not in SERVING:
                        await self._load_together()
                    found = await self._ask(asked.image, asked.query, computed)
        self._metrics.answered(found)
        self._pace.note(Step.REQUEST, found.seconds)
        return Segmentation(asked, found)

    async def respond(self, done: Segmentation, client: str) -> bytes:
        """Return what was found in the terms of the route that repeats its prompts, as JSON.

        Raises:
            ServiceError: its subclasses say what stood in the way.

        """
        return await self._intake.respond(done.asked.echoes or [], done.found.findings, client)

    def retry_after(self, error: Exception) -> int:
        """Return after how many seconds a request that was refused with 503 is likely to be served."""
        hold = self.hold
        if hold is not None:
            return retry_after(until_end(hold, self.now(), datetime.now(UTC)))
        loading = 0.0 if self.loaded else self._pace.of(Step.LOAD)
        if isinstance(error, BusyError | TooManyError):
            return retry_after(self.flight.count * self._pace.of(Step.REQUEST) + loading)
        if isinstance(error, GateClosedError):
            return retry_after(self._pace.of(Step.UNLOAD) + self._pace.of(Step.LOAD))
        return retry_after(self._pace.of(Step.LOAD))

    async def unload(self, terms: Terms | None, drain_timeout: float) -> Unloaded:
        """Place the hold if there are terms, drain for at most `drain_timeout` seconds, and end the worker.

        The hold's ttl counts from the end of all that.

        Raises:
            FenceError: the terms are not the newest; nothing was changed.
            WorkerStuckError: the worker outlived SIGKILL.

        """
        with self.gate.unloading(terms):
            self._reload.drop()
            aborted = await self._abort_load()
            async with self._lock:
                unloaded = await self._give_up(drain_timeout, aborted)
                if self.hold is None:
                    await self._workers.end_spare()
                else:
                    await self._standby.begin()
        log.info("unloaded", extra=vars(unloaded))
        return unloaded

    def renew(self, fence: int, renew_key: str) -> Hold:
        """Renew the hold.

        Raises:
            FenceError: there is no such hold.
            RenewKeyError: the key is another.

        """
        return self.gate.renew(fence, renew_key)

    async def load(self, claim: Claim | None) -> float:
        """End the claimant's hold and load; without a claim there must be no hold. Returns the seconds it took.

        Raises:
            FenceError: somebody else has the hold; nothing was changed.
            ServiceError: the load failed; the hold is ended all the same, and the server tries again by itself.

        """
        self.gate.end(claim)
        began = self.now()
        if not self.loaded:
            self._reload.want()
            await self._load_together()
        return self.now() - began

    @property
    def _offered(self) -> CpuFallback | None:
        """What answers for the GPU now, if anything does."""
        fallback = self._standby.fallback
        return fallback if fallback is not None and self.hold is not None and fallback.offered else None

    async def _degraded(self, route: Route, body: Body, client: str, fallback: CpuFallback) -> Segmentation:
        async with fallback.line.turn(client):
            asked = await self._intake.read(route, body, client)
            body.close()
            found = await fallback.segment(asked.image, asked.query)
        self._metrics.degraded.inc()
        return Segmentation(asked, found, degraded=True)

    async def _ask(self, image: RgbImage, query: Query, computed: Callable[[], None]) -> Segmented:
        try:
            return await self._workers.segment(image, query, computed)
        except WorkerGoneError as error:
            if self.hold is None and self.state not in (State.DRAINING, State.UNLOADING):
                raise
            raise AbortedError("the request was aborted: the model had to be unloaded", self.hold) from error

    async def _load_together(self) -> None:
        """Wait for the load in progress, or begin one: however many ask, the model is loaded once."""
        self.gate.require_no_hold()
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
            self._pace.note(Step.LOAD, self.now() - began)

    async def _attach(self) -> None:
        self._set(State.LOADING)
        await self._workers.end_attached(0)  # what an aborted load may have left
        await self._workers.ready_spare()
        await self._require_permission()  # the imports took their time, and the memory may be gone
        await self._workers.attach_spare()

    async def _require_permission(self) -> None:
        self.gate.require_no_hold()
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
        waiting = self.flight.needing
        loading.cancel()
        await asyncio.wait({loading})
        return waiting

    async def _give_up(self, drain_timeout: float, aborted: int) -> Unloaded:
        began = self.now()
        requests = left = 0
        if self._workers.attached is not None:
            self._set(State.DRAINING)
            requests = self.flight.needing
            left = await self.flight.landed(drain_timeout)
        before = await free_mib(self._read)
        held = self._workers.allocated_mib
        await self._end_worker(grace=0 if left else None)
        free = before if not held or before is None else await settled_free_mib(self._read, before + held)
        self._set(State.UNLOADED)
        self._metrics.unload_seconds.observe(self.now() - began)
        self._pace.note(Step.UNLOAD, self.now() - began)
        freed = 0
        if free is not None and before is not None:
            freed = max(0, free - before)
            self._metrics.unloaded(before, free, held)
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
            again = "it is loaded again" if self.policy.preload else "the next request loads the model again"
            self.error = f"the worker {worker.end} without being asked to; {again}"
            if self.policy.preload:
                self._reload.want()
            self._metrics.worker_deaths.inc()
            log.error(self.error)
        if self.state in (State.LOADED, State.FAILED):
            self._set(State.UNLOADED)

    async def tend(self) -> None:
        """Do what time demands; called twice a second."""
        if self.gate.expire():
            self._reload.want()
        await self._tend_standby()
        if self.state is State.UNLOADED and self._reload.due(self.now()):
            with contextlib.suppress(Exception):  # logged where it failed, kept in `error`, tried again after a delay
                await self._load_together()

    async def _tend_standby(self) -> None:
        fallback = self._standby.fallback
        if self.hold is None and fallback is not None:
            await fallback.end_when_idle()
        if self.hold is not None and self.state is State.UNLOADED and not self._lock.locked():
            async with self._lock:
                await self._standby.tend()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            await self.tend()

    def _set(self, state: State) -> None:
        if state is not self.state:
            log.info("state %s", state.value, extra={"was": self.state.value})
            self.state = state
