"""What admits an inference request to the GPU: no hold, a state that serves, and a free place in the quota."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from residency.errors import AdmissionClosedError, ServiceError
from residency.hold_keeper import HoldKeeper
from residency.in_flight import InFlight
from residency.metrics import Metrics
from residency.request_quota import RequestQuota
from residency.state import State, ends_within, refusal_reason


class Admission:
    """Admits inference requests, and counts those that it refuses.

    A request that finds the GPU lent out waits for at most `held_wait` seconds, and only if the turn is to end by
    then; 0 refuses it at once. `now` is the clock that holds are counted on, in seconds. `quota` counts every request,
    including those that wait or whose body still arrives.
    """

    def __init__(
        self,
        holds: HoldKeeper,
        quota: RequestQuota,
        in_flight: InFlight,
        held_wait: float,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self.quota = quota
        self._holds = holds
        self._in_flight = in_flight
        self._held_wait = held_wait
        self._metrics = metrics
        self._now = now

    @contextlib.asynccontextmanager
    async def admit(self, client: str, state: Callable[[], State]) -> AsyncIterator[None]:
        """Admit a client's request for a `with` block, if it may be served, or the model loaded for it.

        Raises:
            AdmissionClosedError: the GPU is lent out, or the model is being unloaded.
            BusyError: too many requests are in flight, or wait.
            TooManyRequestsError: this client has too many of them.

        """
        deadline = self._now() + self._held_wait
        if not self._hold_ends_by(deadline):
            self.require_open(state())
        try:
            self.quota.require(client)
        except ServiceError:
            self._record_refusal()
            raise
        with self.quota.occupy(client):
            await self._wait_for_end_of_turn(deadline)
            self.require_open(state())
            yield

    def require_open(self, state: State) -> None:
        """Pass if a request may be served, or the model loaded for it; raises AdmissionClosedError."""
        hold = self._holds.hold
        reason = refusal_reason(state, hold)
        if reason is not None:
            self._record_refusal()
            raise AdmissionClosedError(reason, hold)

    async def _wait_for_end_of_turn(self, deadline: float) -> None:
        while self._hold_ends_by(deadline) and (hold := self._holds.hold):
            await self._holds.wait_for_change(min(deadline, hold.expires_at) - self._now())

    def _hold_ends_by(self, deadline: float) -> bool:
        """Whether the present hold ends by then: by its holder's eta, or because it is not renewed."""
        hold, now = self._holds.hold, self._now()
        return hold is not None and ends_within(hold, now, datetime.now(UTC), deadline - now)

    def _record_refusal(self) -> None:
        self._in_flight.record_refusal()
        self._holds.refused += self._holds.hold is not None
        self._metrics.refused.inc()
