"""The coordinator of loads and unloads, which run one at a time.

    unload     place the hold ─► abort a load ─► drain ─► end the engine ─► measure ─► prepare a standby
    load       end the hold ─► memory measured free ─► attach the engine ─► probe
    reconcile  end an expired hold ─► start what the host had no memory for ─► unload an idle model ─► load again
               once memory is free

The hold is placed before the first await of an unload, so no request is admitted between the order and the unload.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from gpu_memory import GpuMemory
from residency.admission import Admission
from residency.engine import Engine, Standby
from residency.errors import AdmissionClosedError, BusyError, EngineStuckError, TooManyRequestsError
from residency.gpu_measurement import ReadMemory, measure
from residency.hold import Claim, Hold, Terms
from residency.hold_file import HoldFile
from residency.hold_keeper import HoldKeeper
from residency.idle_unload import IdleUnload
from residency.in_flight import InFlight
from residency.load_permission import LoadPermission
from residency.loader import Loader
from residency.metrics import Metrics
from residency.model_state import ModelState
from residency.policy import Policy
from residency.reload import ReloadSchedule
from residency.request_quota import RequestQuota
from residency.retry_after import Durations, Step, retry_after, seconds_until_end
from residency.state import State, unready_reason
from residency.unloader import Unloader, UnloadResult

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 0.5


class Coordinator:
    """Decides when the model is on the GPU. Attributes and properties may be read at any time.

    `now` is the clock of holds, in seconds.
    """

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        standby: Standby,
        read_memory: ReadMemory,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.now = now
        self.model = ModelState(now)
        self.in_flight = InFlight()
        self.durations = Durations()
        engine.watch(self._on_engine_exit)
        self.holds = HoldKeeper(HoldFile(policy.hold_file), now)
        quota = RequestQuota(policy.max_in_flight, policy.max_per_client)
        self.admission = Admission(self.holds, quota, self.in_flight, policy.held_wait, metrics, now)
        self._read_memory = read_memory
        self._metrics = metrics
        self._engine = engine
        self._standby = standby
        self._reload = ReloadSchedule()
        permission = LoadPermission(self.holds, read_memory, policy.need_mib)
        self._loader = Loader(self.model, self.holds, permission, engine, self._reload, self.durations, metrics, now)
        self._unloader = Unloader(self.model, engine, self.in_flight, read_memory, self.durations, metrics, now)
        self.idle_unload = IdleUnload(
            policy.idle_unload, self.model, self.holds, self.in_flight, self._unloader, self._standby
        )
        self._reconciling: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """The model's state."""
        return self.model.current

    @property
    def serving_seconds(self) -> float:
        """Seconds in which the model answered, since the server's start."""
        return self.model.serving_seconds

    @property
    def error(self) -> str | None:
        """Why the model is not loaded; None if nothing failed."""
        return self.model.error

    @property
    def loaded(self) -> bool:
        """Whether the model is on the device and answers."""
        return self.model.loaded

    @property
    def unready(self) -> str | None:
        """Why requests are not to be sent here; None when ready."""
        return unready_reason(self.state, self.hold, self.model.error, self.policy.ready_when_loaded)

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        return self.holds.hold

    @property
    def residual_mib(self) -> int:
        """GPU memory in MiB that the engine kept after the last unload."""
        return self._engine.residual_mib

    @property
    def allocated_mib(self) -> int:
        """GPU memory in MiB that the engine reported last."""
        return self._engine.allocated_mib

    def start(self) -> None:
        """Start to reconcile, and to load at once if the model is preloaded."""
        if self.policy.preload:
            self._reload.request()
        self._reconciling = asyncio.create_task(self._reconcile_loop(), name="reconcile")

    async def close(self) -> None:
        """End the engine, and what is prepared. The coordinator is not to be used after.

        Raises:
            EngineStuckError: the engine may still have GPU memory.

        """
        if self._reconciling is not None:
            self._reconciling.cancel()
        await self._loader.abort()
        await self._standby.close()
        async with self.model.transition:
            await self._standby.drop()
            await self._unloader.end_engine(None)
            self.model.enter(State.UNLOADED)

    async def measure(self) -> GpuMemory:
        """Read the GPU's memory now.

        Raises:
            GpuUnavailable: there is no GPU, or it cannot be measured.

        """
        return await measure(self._read_memory)

    async def unload(self, terms: Terms | None, drain_timeout: float) -> UnloadResult:
        """Place the hold if there are terms, drain for at most `drain_timeout` seconds, and end the engine.

        The hold's ttl counts from the end of the unload.

        Raises:
            FenceError: the terms are not the newest; nothing was changed.
            EngineStuckError: the engine may still have GPU memory.

        """
        with self.holds.unloading(terms):
            self._reload.cancel()
            aborted = self.in_flight.needing_worker if self._loader.in_progress else 0
            await self._loader.abort()
            async with self.model.transition:
                result = await self._unloader.drain_and_unload(drain_timeout, aborted)
                if self.hold is None:
                    await self._standby.drop()
                else:
                    await self._standby.start()
        log.info("unloaded", extra=vars(result))
        return result

    def renew(self, fence: int, renew_key: str) -> Hold:
        """Renew the hold.

        Raises:
            FenceError: there is no such hold.
            RenewKeyError: the key is not the hold's.

        """
        return self.holds.renew(fence, renew_key)

    async def load(self, claim: Claim | None) -> float:
        """End the hold of `claim` and load; without `claim` there must be no hold. Return the seconds it took.

        Raises:
            FenceError: another holder has the hold; nothing was changed.
            ServiceError: the load failed; the hold is ended all the same, and the server retries.

        """
        self.holds.end(claim)
        began = self.now()
        if not self.loaded:
            self._reload.request()
            await self.load_once()
        return self.now() - began

    async def load_once(self) -> None:
        """Load the model, or wait for the load in progress; raises ServiceError."""
        await self._loader.load_once()

    def retry_after(self, error: Exception) -> int:
        """Return after how many seconds a request that was refused with 503 will probably be served."""
        hold = self.hold
        if hold is not None:
            return retry_after(seconds_until_end(hold, self.now(), datetime.now(UTC)))
        load_seconds = self.durations.mean(Step.LOAD)
        if isinstance(error, BusyError | TooManyRequestsError):
            queue_seconds = self.in_flight.count * self.durations.mean(Step.REQUEST)
            return retry_after(queue_seconds + (0.0 if self.loaded else load_seconds))
        if isinstance(error, AdmissionClosedError):
            return retry_after(self.durations.mean(Step.UNLOAD) + load_seconds)
        return retry_after(load_seconds)

    async def reconcile(self) -> None:
        """Bring engine and state to what hold, time and memory require; called twice a second."""
        if self.holds.expire():
            self._reload.request()
        await self._reconcile_engine()
        await self._reconcile_standby()
        await self.idle_unload.reconcile()
        if self.state is State.UNLOADED and self._reload.due(self.now()):
            with contextlib.suppress(Exception):  # logged where it failed, kept in `error`, tried again after a delay
                await self.load_once()

    async def _reconcile_engine(self) -> None:
        """Follow an engine that loads its model by itself; in a turn, it is unloaded again."""
        if self.state not in (State.UNLOADED, State.FAILED) or self.model.transition.locked():
            return
        async with self.model.transition:
            if not await self._engine.has_loaded():
                return
            if self.hold is None:
                self._loader.adopt()
                return
            log.warning("the engine has loaded its model during a turn; it is unloaded again")
            with contextlib.suppress(EngineStuckError):  # logged, kept in `error`, tried again
                await self._unloader.drain_and_unload(0.0, 0)

    async def _reconcile_standby(self) -> None:
        if self.hold is None:
            await self._standby.end_turn()
        if self.hold is not None and self.state is State.UNLOADED and not self.model.transition.locked():
            async with self.model.transition:
                await self._standby.reconcile()

    async def _reconcile_loop(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            await self.reconcile()

    def _on_engine_exit(self, what: str) -> None:
        """Record that the attached engine has ended: unexpectedly while loaded, or late after it was stuck."""
        if self.loaded:
            again = "it is loaded again" if self.policy.preload else "the next request loads the model again"
            self.model.error = f"{what} unexpectedly; {again}"
            if self.policy.preload:
                self._reload.request()
            self._metrics.engine_deaths.inc()
            log.error(self.model.error)
        if self.state in (State.LOADED, State.FAILED):
            self.model.enter(State.UNLOADED)
