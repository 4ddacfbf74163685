"""Unloads the model: drain requests, end the worker process, measure the memory that came back."""

from collections.abc import Callable
from dataclasses import dataclass

from sam3_server.errors import WorkerStuckError
from sam3_server.residency.gpu_measurement import ReadMemory, free_mib, settled_free_mib
from sam3_server.residency.in_flight import InFlight
from sam3_server.residency.metrics import Metrics
from sam3_server.residency.model_state import ModelState
from sam3_server.residency.retry_after import Durations, Step
from sam3_server.residency.state import State
from sam3_server.residency.worker_pool import WorkerPool

ABORTED_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class UnloadResult:
    """What an unload did: MiB as measured (None without a GPU), requests that finished, and that were aborted."""

    freed_mib: int
    free_mib: int | None
    drained: int
    aborted: int


class Unloader:
    """Ends the attached worker. Callers hold `ModelState.transition`; `now` is the clock of holds, in seconds."""

    def __init__(
        self,
        model: ModelState,
        pool: WorkerPool,
        in_flight: InFlight,
        read_memory: ReadMemory,
        durations: Durations,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._model = model
        self._pool = pool
        self._in_flight = in_flight
        self._read_memory = read_memory
        self._durations = durations
        self._metrics = metrics
        self._now = now

    async def drain_and_unload(self, drain_timeout: float, aborted: int) -> UnloadResult:
        """Wait at most `drain_timeout` seconds for requests, end the worker, and wait for its memory.

        `aborted` is the number of requests that an aborted load has refused already.

        Raises:
            WorkerStuckError: the worker outlived SIGKILL.

        """
        began = self._now()
        requests = left = 0
        if self._pool.attached is not None:
            self._model.enter(State.DRAINING)
            requests = self._in_flight.needing_worker
            left = await self._in_flight.drained(drain_timeout)
        before = await free_mib(self._read_memory)
        held = self._pool.allocated_mib
        await self.end_worker(grace=0 if left else None)
        free = before if not held or before is None else await settled_free_mib(self._read_memory, before + held)
        self._model.enter(State.UNLOADED)
        self._metrics.unload_seconds.observe(self._now() - began)
        self._durations.record(Step.UNLOAD, self._now() - began)
        freed = 0
        if free is not None and before is not None:
            freed = max(0, free - before)
            self._metrics.record_unload(before, free, held)
        return UnloadResult(freed, free, requests - left, aborted + left)

    async def end_worker(self, grace: float | None) -> None:
        """End the attached worker, if there is one; `grace` is in seconds, by default the pool's.

        Raises:
            WorkerStuckError: the worker outlived SIGKILL.

        """
        if self._pool.attached is None:
            return
        self._model.enter(State.UNLOADING)
        try:
            await self._pool.end_attached(grace)
        except WorkerStuckError as error:
            self._model.error = str(error)
            self._model.enter(State.FAILED)
            raise
        await self._in_flight.drained(ABORTED_ANSWER_SECONDS)  # aborted requests are answered before the unload is
