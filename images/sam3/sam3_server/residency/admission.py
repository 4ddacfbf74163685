"""The gate: holds decide whether it is open, and it counts and words what it refuses."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

from sam3_server.errors import GateClosedError, ServiceError
from sam3_server.residency.client_quota import Places
from sam3_server.residency.hold import Claim, Hold, HoldBook, Terms
from sam3_server.residency.hold_file import HoldFile
from sam3_server.residency.in_flight import Flight
from sam3_server.residency.metrics import Metrics
from sam3_server.residency.state import State, ends_within, lent_to, refusal

log = logging.getLogger(__name__)


class Gate:
    """Admits inference requests. `refused` counts those refused under the present hold, or the last one.

    A request that finds the GPU lent out waits for at most `held_wait` seconds, and only if the turn is to end by
    then; 0 refuses it at once. `now` is the clock that holds are counted on, in seconds. Holds are kept in `file`.
    `places` are those of all requests, also of those that wait or still arrive.
    """

    def __init__(
        self, places: Places, held_wait: float, file: HoldFile, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        self.refused = 0
        self.places = places
        self._held_wait = held_wait
        self._metrics = metrics
        self._now = now
        self._file = file
        self._holds = HoldBook()
        file.read(self._holds, now(), time.time())
        self._changed = asyncio.Event()

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

    @contextlib.contextmanager
    def unloading(self, terms: Terms | None) -> Iterator[None]:
        """Place a hold, if there are terms, and let its ttl count from the end of the block; raises FenceError."""
        if terms is None:
            yield
            return
        self.place(terms)
        self._holds.begin_unload(self._now())
        try:
            yield
        finally:
            self._holds.end_unload(self._now())
            self._keep()

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

    @contextlib.asynccontextmanager
    async def admitted(self, client: str, state: Callable[[], State], flight: Flight) -> AsyncIterator[None]:
        """Give a client's request a place, if it may be served, or the model loaded for it, for a `with` block.

        Raises:
            GateClosedError: the GPU is lent out, or the model is being unloaded.
            BusyError: too many requests are in flight, or wait.
            TooManyError: this client has too many of them.

        """
        until = self._now() + self._held_wait
        if not self._ends_by(until):
            self.require_open(state(), flight)
        try:
            self.places.require(client)
        except ServiceError:
            self._count_refusal(flight)
            raise
        with self.places.one(client):
            await self._hand_over(until)
            self.require_open(state(), flight)
            yield

    def require_open(self, state: State, flight: Flight) -> None:
        """Pass if a request may be served, or the model loaded for it; raises GateClosedError."""
        hold = self.hold
        reason = refusal(state, hold)
        if reason is not None:
            self._count_refusal(flight)
            raise GateClosedError(reason, hold)

    async def _hand_over(self, until: float) -> None:
        """Wait for the end of a turn that is about to end."""
        while self._ends_by(until) and (hold := self.hold):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(until, hold.expires_at) - self._now()):
                    await self._changed.wait()

    def _ends_by(self, until: float) -> bool:
        """Whether the present turn is about to end: by its holder's eta, or because nobody renews it."""
        hold, now = self.hold, self._now()
        return hold is not None and ends_within(hold, now, datetime.now(UTC), until - now)

    def _count_refusal(self, flight: Flight) -> None:
        flight.refused()
        self.refused += self.hold is not None
        self._metrics.refused.inc()

    def _keep(self) -> None:
        self._file.write(self._holds, self._now(), time.time())

    def _notify(self) -> None:
        self._keep()
        self._changed.set()
        self._changed = asyncio.Event()
