"""Loads the model: permission, a prepared engine, permission again, attach and probe."""

import asyncio
import logging
from collections.abc import Callable

from residency.engine import Engine
from residency.errors import AbortedError, EngineStuckError, NotEnoughMemoryError, ServiceError
from residency.hold_keeper import HoldKeeper
from residency.load_permission import LoadPermission
from residency.metrics import Metrics
from residency.model_state import ModelState
from residency.reload import ReloadSchedule
from residency.retry_after import Durations, Step
from residency.state import State

log = logging.getLogger(__name__)


class Loader:
    """Runs at most one load at a time. `now` is the clock that holds are counted on, in seconds."""

    def __init__(
        self,
        model: ModelState,
        holds: HoldKeeper,
        permission: LoadPermission,
        engine: Engine,
        reload: ReloadSchedule,
        durations: Durations,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._model = model
        self._holds = holds
        self._permission = permission
        self._engine = engine
        self._reload = reload
        self._durations = durations
        self._metrics = metrics
        self._now = now
        self._loading: asyncio.Task[None] | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a load runs now."""
        return self._loading is not None and not self._loading.done()

    async def load_once(self) -> None:
        """Wait for the load in progress, or start one: concurrent callers share a single load.

        Raises:
            AdmissionClosedError: the GPU is lent out.
            AbortedError: an unload aborted the load.
            ServiceError: the load failed.

        """
        self._holds.require_no_hold()
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(), name="load")
        loading = self._loading
        await asyncio.wait({loading})
        if loading.cancelled():
            raise AbortedError("the load was aborted: the GPU is needed elsewhere", self._holds.hold)
        loading.result()

    async def abort(self) -> None:
        """Cancel the load in progress, if there is one, and wait until it has ended."""
        loading = self._loading
        if loading is not None and not loading.done():
            loading.cancel()
            await asyncio.wait({loading})

    def adopt(self) -> None:
        """Record that the engine has loaded its model by itself."""
        self._model.enter(State.LOADED)
        self._model.error = None
        self._reload.cancel()

    async def _load(self) -> None:
        async with self._model.transition:
            if self._model.loaded:
                return
            if await self._engine.has_loaded():
                self.adopt()
                return
            began = self._now()
            try:
                await self._permission.require()
                await self._attach()
            except BaseException as error:
                self._model.enter(State.FAILED if isinstance(error, EngineStuckError) else State.UNLOADED)
                if isinstance(error, Exception):
                    self._record_failure(error)
                raise
            self._model.enter(State.LOADED)
            self._model.error = None
            self._reload.cancel()
            self._metrics.load_seconds.observe(self._now() - began)
            self._durations.record(Step.LOAD, self._now() - began)

    async def _attach(self) -> None:
        self._model.enter(State.LOADING)
        await self._engine.prepare()
        await self._permission.require()  # another process may have taken the memory meanwhile
        await self._engine.attach()

    def _record_failure(self, error: Exception) -> None:
        if str(error) != self._model.error:  # a failure that repeats every second is logged once
            log.warning("load failed: %s", error, exc_info=None if isinstance(error, ServiceError) else error)
        self._model.error = str(error)
        waits_for_memory = isinstance(error, NotEnoughMemoryError)
        self._reload.record_failure(self._now(), waits_for_memory)
        self._metrics.load_failures.labels("memory" if waits_for_memory else "error").inc()
