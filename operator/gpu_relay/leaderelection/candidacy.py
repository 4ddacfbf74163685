"""Who of several operators acts: one candidate's view of the leader's Lease.

::

    standby ── the Lease is free, ours, or has not changed for its duration ──► compare-and-swap ──► leader
    leader ─── not renewed within two thirds of the duration ──► lost: it must act no more, and ends

`now` is always this machine's own monotonic clock in seconds. What other machines' clocks say is written for people and
never read: a candidate counts from when it saw the record change.
"""

from dataclasses import dataclass

_DEADLINE = 2 / 3
_RENEWALS = 6
"""Attempts to renew within one duration."""


@dataclass(frozen=True)
class LeaderRecord:
    """The leader's Lease as it was read: `holder` is empty when it was released, `duration` is in seconds."""

    version: str
    """Changes with every write."""
    holder: str
    duration: float
    transitions: int


class Candidacy:
    """What one process knows of the election. `duration` is the Lease's, in seconds."""

    def __init__(self, identity: str, duration: float) -> None:
        self.identity = identity
        self.duration = duration
        self.period = duration / _RENEWALS
        self.record: LeaderRecord | None = None
        self._known: LeaderRecord | None = None
        self._changed_at = 0.0
        self._leads_until = float("-inf")

    def see(self, record: LeaderRecord | None, now: float) -> None:
        """Take in the record as it is, None where there is none; the count begins anew when it has changed.

        A record that somebody deletes ends nobody's time: whoever held it last may not have noticed yet. One that is
        written and deleted again between two readings is not seen at all: whoever deletes the Lease twice within its
        duration may have two lead for a moment, which the compare-and-swap of GPUs' Leases and their fences survive.
        """
        if _version(record) != _version(self.record):
            self._changed_at = now
        self.record = record
        self._known = record or self._known

    def wait(self, now: float) -> float:
        """Return the seconds after which the Lease may be taken, if nothing changes until then; 0 or less for now."""
        if self.record is None:
            if self._known is None or self.lead_left(now) > 0:
                return 0.0
            return self._changed_at + max(self._known.duration, self.duration) - now
        if self.record.holder in {"", self.identity}:
            return 0.0
        return self._changed_at + self.record.duration - now

    @property
    def leader(self) -> str:
        """Who leads, as far as is known; empty for nobody."""
        return self._known.holder if self._known else ""

    def won(self, record: LeaderRecord, asked_at: float, now: float) -> None:
        """Our write was accepted. It counts from when it was asked for: others may have seen it right after that."""
        self.see(record, now)
        self._leads_until = asked_at + self.duration * _DEADLINE

    def lead_left(self, now: float) -> float:
        """Return the seconds for which this candidate may act; 0 or less when it must not."""
        return self._leads_until - now

    def stood_down(self) -> None:
        """We do not lead any longer."""
        self._leads_until = float("-inf")


def _version(record: LeaderRecord | None) -> str:
    return record.version if record else ""
