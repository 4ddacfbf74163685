"""The server's holds: placed, renewed, ended and expired on its clock, logged, and kept in a file."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from residency.errors import AdmissionClosedError
from residency.hold import Claim, Hold, HoldBook, Terms
from residency.hold_file import HoldFile
from residency.state import lent_to

log = logging.getLogger(__name__)


class HoldKeeper:
    """The hold book of one server. `refused` counts requests refused under the present hold, or the last one.

    `now` is the clock that holds are counted on, in seconds. The book is read from `file`, and written to it at each
    change.
    """

    def __init__(self, file: HoldFile, now: Callable[[], float]) -> None:
        self.refused = 0
        self._file = file
        self._now = now
        self._book = HoldBook()
        file.read(self._book, now(), time.time())
        self._changed = asyncio.Event()

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        return self._book.active(self._now())

    @property
    def newest_fence(self) -> int:
        """The newest fence of which an order was accepted, also by a former process; 0 before the first."""
        return self._book.newest.fence if self._book.newest is not None else 0

    def place(self, terms: Terms) -> Hold:
        """Place a hold, or renew the present one; raises FenceError."""
        before = self.hold
        hold = self._book.place(terms, self._now())
        if before is None or before.placed_at != hold.placed_at:
            self.refused = 0
            log.info("hold placed", extra={"holder": terms.holder, "fence": terms.fence, "ttl": terms.ttl_seconds})
        self._notify()
        return hold

    @contextlib.contextmanager
    def unloading(self, terms: Terms | None) -> Iterator[None]:
        """Place a hold, if there are terms, and count its ttl from the end of the block; raises FenceError."""
        if terms is None:
            yield
            return
        self.place(terms)
        self._book.begin_unload(self._now())
        try:
            yield
        finally:
            self._book.end_unload(self._now())
            self._write()

    def renew(self, fence: int, renew_key: str) -> Hold:
        """Renew the hold; raises FenceError or RenewKeyError."""
        hold = self._book.renew(fence, renew_key, self._now())
        self._write()
        return hold

    def end(self, claim: Claim | None) -> None:
        """End the claimant's hold; raises FenceError."""
        self._book.end(claim, self._now())
        self._notify()

    def expire(self) -> bool:
        """Remove a hold that was not renewed in time, and return whether there was one."""
        expired = self._book.expire(self._now())
        if expired is not None:
            log.warning("hold expired", extra={"holder": expired.terms.holder, "fence": expired.terms.fence})
            self._notify()
        return expired is not None

    def require_no_hold(self) -> None:
        """Pass unless the GPU is lent out; raises AdmissionClosedError."""
        hold = self.hold
        if hold is not None:
            raise AdmissionClosedError(lent_to(hold), hold)

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until a hold is placed, ended or expired, for at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _write(self) -> None:
        self._file.write(self._book, self._now(), time.time())

    def _notify(self) -> None:
        self._write()
        self._changed.set()
        self._changed = asyncio.Event()
