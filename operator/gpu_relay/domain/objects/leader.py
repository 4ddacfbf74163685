"""The Lease by which the operators elect their leader."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gpu_relay.domain.quantities import parse_time


@dataclass(frozen=True)
class LeaderRecord:
    """The leader's Lease as it was read: `holder` is empty when it was released, `duration` is in seconds."""

    version: str
    """Changes with every write."""
    holder: str
    duration: float
    transitions: int
    renewed: datetime | None = None
    """When the holder renewed it by its own clock, which a candidate does not trust."""

    def leaderless_for(self, now: datetime) -> timedelta | None:
        """Return for how long no operator has been the leader; None while one is."""
        if self.renewed is None:
            return timedelta()
        age = now - self.renewed
        return None if self.holder and age <= timedelta(seconds=2 * self.duration) else age


def leader_record_of(raw: dict[str, Any]) -> LeaderRecord:
    """Read the leader's Lease."""
    spec = raw.get("spec", {})
    renewed = spec.get("renewTime")
    return LeaderRecord(
        version=raw["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity", ""),
        duration=spec.get("leaseDurationSeconds", 1),
        transitions=spec.get("leaseTransitions", 0),
        renewed=parse_time(renewed) if renewed else None,
    )
