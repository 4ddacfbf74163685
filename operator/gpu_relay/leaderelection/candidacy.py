"""One candidate's view of the leader's Lease: it decides which of several operators acts.

::

    standby ── the Lease is free, its own, or has not changed for its duration ──► compare-and-swap ──► leader
    leader ─── not renewed within two thirds of the duration ──► lost: it must not act any more, and exits

`now` is always the monotonic clock of this machine, in seconds. Times of other machines are in the Lease for people,
and never read: a candidate counts from the time at which it saw the record change.
"""

from gpu_relay.domain.objects.leader import LeaderRecord

_DEADLINE = 2 / 3
_RENEWALS = 6
"""Attempts to renew within one duration."""


class Candidacy:
    """The state of the election as one process knows it. `duration` is that of the Lease, in seconds."""

    def __init__(self, identity: str, duration: float) -> None:
        self.identity = identity
        self.duration = duration
        self.period = duration / _RENEWALS
        self.record: LeaderRecord | None = None
        self._known: LeaderRecord | None = None
        self._changed_at = 0.0
        self._leads_until = float("-inf")

    def see(self, record: LeaderRecord | None, now: float) -> None:
        """Record the Lease as it was read, None if there is none. If it has changed, its duration counts from now.

        A deleted Lease does not end the leader's time: the leader may not have noticed the deletion yet. A Lease that
        is written and deleted between two reads is not noticed: a client that deletes the Lease twice within its
        duration can cause two leaders for a moment. The compare-and-swap of GPUs' Leases and their fences prevent harm.
        """
        if _version(record) != _version(self.record):
            self._changed_at = now
        self.record = record
        self._known = record or self._known

    def wait(self, now: float) -> float:
        """Return the seconds until the Lease may be taken if it does not change; 0 or less: it may be taken now."""
        if self.record is None:
            if self._known is None or self.lead_left(now) > 0:
                return 0.0
            return self._changed_at + max(self._known.duration, self.duration) - now
        if self.record.holder in {"", self.identity}:
            return 0.0
        return self._changed_at + self.record.duration - now

    @property
    def leader(self) -> str:
        """Return the identity of the leader, as far as it is known; empty if there is none."""
        return self._known.holder if self._known else ""

    def won(self, record: LeaderRecord, asked_at: float, now: float) -> None:
        """Record an accepted write. It counts from the time of the request: others may have seen it from then on."""
        self.see(record, now)
        self._leads_until = asked_at + self.duration * _DEADLINE

    def lead_left(self, now: float) -> float:
        """Return the seconds for which this candidate may act; 0 or less when it must not."""
        return self._leads_until - now

    def stood_down(self) -> None:
        """Record that this candidate is no longer the leader."""
        self._leads_until = float("-inf")


def _version(record: LeaderRecord | None) -> str:
    return record.version if record else ""
