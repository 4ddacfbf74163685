"""The gate: holds decide whether it is open, and it counts and words what it refuses."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sam3_server.errors import BusyError, GateClosedError
from sam3_server.flight import Flight
from sam3_server.hold import Claim, Hold, HoldBook, Terms
from sam3_server.hold_file import HoldFile
from sam3_server.metrics import Metrics
from sam3_server.residency import State, admit, ends_within, lent_to

log = logging.getLogger(__name__)


class Gate:
    """Admits inference requests. `refused` counts those refused under the present hold, or the last one.

    A request that finds the GPU lent out waits for at most `held_wait` seconds, and only if the turn is to end by
    then; 0 refuses it at once. `now` is the clock that holds are counted on, in seconds. Holds are kept in `file`.
    """

    def __init__(
        self, max_in_flight: int, held_wait: float, file: HoldFile, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        self.refused = 0
        self._max_in_flight = max_in_flight
        self._held_wait = held_wait
        self._metrics = metrics
        self._now = now
        self._file = file
        self._holds = HoldBook()
        file.read(self._holds, now(), time.time())
        self._changed = asyncio.Event()
        self._waiting = 0

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        return self._holds.active(self._now())

    def place(self, terms: Terms) -> Hold:
        """Place a hold, or renew the present one; raises FenceError."""
        before = self.hold
        hold = self._holds.place(terms, self._now())
        if before is None or before.placed_at != hold.placed_at:
            self.refused = 0
            log.info("hold placed", extra={"holder": terms.holder, "fence": terms.fence, "ttl": terms.ttl_seconds})
        self._notify()
        return hold

    def renew(self, fence: int, renew_key: str) -> Hold:
        """Renew the hold; raises FenceError or RenewKeyError."""
        hold = self._holds.renew(fence, renew_key, self._now())
        self._keep()
        return hold

    def end(self, claim: Claim | None) -> None:
        """End the claimant's hold; raises FenceError."""
        self._holds.end(claim, self._now())
        self._notify()

    def expire(self) -> bool:
        """Forget a hold that nobody renewed, and tell whether there was one."""
        expired = self._holds.expire(self._now())
        if expired is not None:
            log.warning("hold expired", extra={"holder": expired.terms.holder, "fence": expired.terms.fence})
            self._notify()
        return expired is not None

    def require_no_hold(self) -> None:
        """Pass unless the GPU is lent out; raises GateClosedError."""
        hold = self.hold
        if hold is not None:
            raise GateClosedError(lent_to(hold), hold)

    async def admit(self, state: Callable[[], State], flight: Flight) -> None:
        """Pass when a request may be served, or when the model may be loaded for it.

        Raises:
            GateClosedError: the GPU is lent out, or the model is being unloaded.
            BusyError: too many requests are in flight, or wait.

        """
        if self._held_wait:
            await self._hand_over(flight)
        hold = self.hold
        refusal = admit(state(), hold, flight.count, self._max_in_flight)
        if refusal is None:
            return
        flight.refused()
        self.refused += hold is not None
        self._metrics.refused.inc()
        raise BusyError(refusal.reason) if refusal.busy else GateClosedError(refusal.reason, hold)

    async def _hand_over(self, flight: Flight) -> None:
        """Wait for the end of a turn that is about to end."""
        until = self._now() + self._held_wait
        while (hold := self.hold) and ends_within(hold, self._now(), datetime.now(UTC), until - self._now()):
            if flight.count + self._waiting >= self._max_in_flight:
                return
            self._waiting += 1
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(until, hold.expires_at) - self._now())
            finally:
                self._waiting -= 1

    def _keep(self) -> None:
        self._file.write(self._holds, self._now(), time.time())

    def _notify(self) -> None:
        self._keep()
        self._changed.set()
        self._changed = asyncio.Event()
