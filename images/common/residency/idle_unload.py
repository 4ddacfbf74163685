"""Unload a model that gets no requests. The next one loads it, as memory allows."""

import asyncio
import logging

from residency.engine import Standby
from residency.errors import EngineStuckError
from residency.hold_keeper import HoldKeeper
from residency.in_flight import InFlight
from residency.model_state import ModelState
from residency.unloader import Unloader

log = logging.getLogger(__name__)


class IdleUnload:
    """Unloads the model after so many seconds without a request; 0 never does.

    The seconds also count from each load, so that a load by order lasts.
    """

    def __init__(
        self,
        seconds: float,
        model: ModelState,
        holds: HoldKeeper,
        in_flight: InFlight,
        unloader: Unloader,
        standby: Standby,
    ) -> None:
        self._seconds = seconds
        self._model = model
        self._holds = holds
        self._in_flight = in_flight
        self._unloader = unloader
        self._standby = standby
        self._done = asyncio.Event()
        self._done.set()

    @property
    def is_due(self) -> bool:
        """Whether the model is loaded, and has had no request for long enough. A held model is not loaded."""
        if not self._seconds or not self._model.loaded or self._holds.hold is not None:
            return False
        return min(self._in_flight.idle_seconds, self._model.seconds_in_state) >= self._seconds

    async def reconcile(self) -> None:
        """Unload the model if that is due; called twice a second."""
        if not self.is_due:
            return
        self._done.clear()
        try:
            async with self._model.transition:
                if self.is_due:  # no request or order was faster; none is admitted from here on
                    await self._unload()
        finally:
            self._done.set()

    async def wait(self) -> None:
        """Wait until no such unload is in progress: a request that arrives during one is served after it."""
        await self._done.wait()

    async def _unload(self) -> None:
        log.info("unloads the model: no request for %.0f s", self._in_flight.idle_seconds)
        try:
            await self._unloader.drain_and_unload(0.0, 0)
        except EngineStuckError as error:
            log.warning("the idle model was not unloaded: %s", error)
            return
        await self._standby.start()
