"""Unloads the model: drain requests, end the engine, measure the memory that came back."""

from collections.abc import Callable
from dataclasses import dataclass

from residency.engine import Engine
from residency.errors import EngineStuckError
from residency.gpu_measurement import ReadMemory, free_mib, settled_free_mib
from residency.in_flight import InFlight
from residency.metrics import Metrics
from residency.model_state import ModelState
from residency.retry_after import Durations, Step
from residency.state import State

ABORTED_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class UnloadResult:
    """What an unload did: MiB as measured (None without a GPU), requests that finished, and that were aborted."""

    freed_mib: int
    free_mib: int | None
    drained: int
    aborted: int


class Unloader:
    """Ends the attached engine. Callers hold `ModelState.transition`; `now` is the clock of holds, in seconds."""

    def __init__(
        self,
        model: ModelState,
        engine: Engine,
        in_flight: InFlight,
        read_memory: ReadMemory,
        durations: Durations,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._model = model
        self._engine = engine
        self._in_flight = in_flight
        self._read_memory = read_memory
        self._durations = durations
        self._metrics = metrics
        self._now = now

    async def drain_and_unload(self, drain_timeout: float, aborted: int) -> UnloadResult:
        """Wait at most `drain_timeout` seconds for requests, end the engine, and wait for its memory.

        `aborted` is the number of requests that an aborted load has refused already.

        Raises:
            EngineStuckError: it may still have GPU memory.

        """
        began = self._now()
        requests = left = 0
        if self._engine.is_attached:
            self._model.enter(State.DRAINING)
            requests = self._in_flight.needing_worker
            left = await self._in_flight.drained(drain_timeout)
        before = await free_mib(self._read_memory)
        held = self._engine.allocated_mib
        await self.end_engine(grace=0 if left else None)
        free = before if not held or before is None else await settled_free_mib(self._read_memory, before + held)
        self._model.enter(State.UNLOADED)
        self._metrics.unload_seconds.observe(self._now() - began)
        self._durations.record(Step.UNLOAD, self._now() - began)
        freed = 0
        if free is not None and before is not None:
            freed = max(0, free - before)
            self._metrics.record_unload(before, free, held)
        return UnloadResult(freed, free, requests - left, aborted + left)

    async def end_engine(self, grace: float | None) -> None:
        """End the engine, if it has the GPU; `grace` is in seconds, by default the engine's own.

        Raises:
            EngineStuckError: it may still have GPU memory.

        """
        if not self._engine.is_attached:
            return
        self._model.enter(State.UNLOADING)
        try:
            await self._engine.end_attached(grace)
        except EngineStuckError as error:
            self._model.error = str(error)
            self._model.enter(State.FAILED)
            raise
        await self._in_flight.drained(ABORTED_ANSWER_SECONDS)  # aborted requests are answered before the unload is
