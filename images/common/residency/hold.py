"""Holds and fences: who may keep the model unloaded, and until when.

A hold is the server's promise to stay unloaded for its holder's turn on the GPU. Turns are numbered by fences that only
grow, so a delayed order is distinguishable from a current one. Everything here is pure: `now` is an
argument, in seconds of a monotonic clock.

    place    newest fence or newer, same holder      hold begins, or is renewed with new terms
    renew    the hold's fence and its renew key      hold is extended by its ttl
    end      the hold's fence and holder             hold ends
    expire   it was not renewed in time              hold ends

During the unload for a hold its time does not run: the ttl counts from the end of the unload, however long draining
takes.
"""

import hmac
from dataclasses import dataclass, replace
from datetime import datetime


class FenceError(Exception):
    """The caller's fence or holder is not the current one, which the message names."""


class RenewKeyError(Exception):
    """The renew key is not the hold's."""


@dataclass(frozen=True)
class Claim:
    """The turn that an order comes from: its holder and its fence."""

    holder: str
    fence: int


@dataclass(frozen=True)
class Terms:
    """What a holder asks for. Times in seconds; `eta` is when the holder expects to be done."""

    holder: str
    fence: int
    ttl_seconds: float
    renew_key: str
    eta: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """A hold in force until `expires_at`, in seconds of the monotonic clock."""

    terms: Terms
    placed_at: float
    expires_at: float

    @property
    def claim(self) -> Claim:
        """The holder and the fence of this hold."""
        return Claim(self.terms.holder, self.terms.fence)

    def expires_in(self, now: float) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self.expires_at - now)

    def renewed(self, now: float) -> "Hold":
        """Return this hold, extended by its ttl."""
        return replace(self, expires_at=now + self.terms.ttl_seconds)


class HoldBook:
    """The present hold and the newest fence seen. A refused call changes nothing."""

    def __init__(self) -> None:
        self._hold: Hold | None = None
        self._newest: Claim | None = None
        self._unloads = 0

    @property
    def newest(self) -> Claim | None:
        """The newest turn of which an order was accepted."""
        return self._newest

    def restore(self, newest: Claim, hold: Hold | None) -> None:
        """Continue from what an earlier server stored."""
        self._newest, self._hold = newest, hold

    def active(self, now: float) -> Hold | None:
        """Return the hold in force at `now`."""
        if self._hold is not None and self._unloads:
            return self._hold.renewed(now)
        if self._hold is None or now >= self._hold.expires_at:
            return None
        return self._hold

    def begin_unload(self, now: float) -> None:
        """Keep the hold in force from expiring until as many unloads have ended as have begun."""
        self._hold = self.active(now)
        self._unloads += 1

    def end_unload(self, now: float) -> None:
        """Start the ttl of the present hold, unless another unload is in progress."""
        self._hold = self.active(now)
        self._unloads -= 1

    def place(self, terms: Terms, now: float) -> Hold:
        """Begin a hold, or renew the present one with new terms.

        Raises:
            FenceError: the fence is older than the newest seen, or is another holder's.

        """
        claim = Claim(terms.holder, terms.fence)
        self._require_current(claim)
        present = self.active(now)
        placed_at = present.placed_at if present is not None and present.claim == claim else now
        self._newest = claim
        self._hold = Hold(terms, placed_at, now + terms.ttl_seconds)
        return self._hold

    def renew(self, fence: int, renew_key: str, now: float) -> Hold:
        """Extend the present hold by its ttl.

        Raises:
            FenceError: there is no hold, or it has another fence.
            RenewKeyError: the key is not the hold's.

        """
        present = self.active(now)
        if present is None:
            raise FenceError("there is no hold to renew: it expired, was released, or this server was restarted")
        if present.terms.fence != fence:
            raise FenceError(f"the hold has fence {present.terms.fence}, not {fence}")
        if not hmac.compare_digest(present.terms.renew_key.encode(), renew_key.encode()):
            raise RenewKeyError("the renew key is not the one that the hold was placed with")
        self._hold = present.renewed(now)
        return self._hold

    def end(self, claim: Claim | None, now: float) -> None:
        """End the claimant's hold. Repeating it, or ending a hold that has already ended, changes nothing.

        Without `claim` it passes only when there is no hold.

        Raises:
            FenceError: another holder or fence has the hold, or a newer fence was seen.

        """
        present = self.active(now)
        if present is not None and present.claim != claim:
            raise FenceError(
                f"{present.terms.holder} holds the GPU with fence {present.terms.fence}: "
                "only a load with that holder and fence ends the hold"
            )
        if claim is not None:
            self._require_current(claim)
            self._newest = claim
        self._hold = None

    def expire(self, now: float) -> Hold | None:
        """Remove a hold that has expired, and return it."""
        if self._hold is None or self.active(now) is not None:
            return None
        expired, self._hold = self._hold, None
        return expired

    def _require_current(self, claim: Claim) -> None:
        if self._newest is None or claim.fence > self._newest.fence:
            return
        if claim.fence < self._newest.fence:
            raise FenceError(f"fence {claim.fence} has ended: the newest seen is {self._newest.fence}")
        if claim.holder != self._newest.holder:
            raise FenceError(f"fence {claim.fence} belongs to {self._newest.holder}")
