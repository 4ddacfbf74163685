"""The two clocks of a resident: how long it may be unloaded, and how long it then serves.

An *outage* begins with the first turn that unloads the resident. It ends when the resident has served for `min_serve`:
turns that follow one another closely share one outage, even if the resident was loaded for a moment between them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gpu_relay.api import words
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import duration, parse_time


@dataclass(frozen=True)
class Clocks:
    """The clocks of one resident: the operator's settings, overridden by annotations on the resident's pod."""

    max_outage: timedelta
    min_serve: timedelta
    idle_after: timedelta


def clocks_of(policy: Policy, resident: Resident | None) -> Clocks:
    """Return a resident's clocks; an annotation that is not a duration is ignored (see `objections`)."""
    annotations = resident.annotations if resident else {}

    def clock(annotation: str, default: float) -> timedelta:
        try:
            return duration(annotations[annotation])
        except (KeyError, ValueError):
            return timedelta(seconds=default)

    return Clocks(
        clock(words.ANNOTATION_MAX_OUTAGE, policy.max_outage),
        clock(words.ANNOTATION_MIN_SERVE, policy.min_serve),
        clock(words.ANNOTATION_IDLE_AFTER, policy.idle_after),
    )


def objections(annotations: dict[str, str]) -> list[str]:
    """Return which annotations of a resident's pod are ignored, and why."""
    found = []
    for name in (words.ANNOTATION_MAX_OUTAGE, words.ANNOTATION_MIN_SERVE, words.ANNOTATION_IDLE_AFTER):
        try:
            duration(annotations.get(name, "0s"))
        except ValueError as error:
            found.append(f"{name}: {error}")
    return found


def outage_since(lease: GpuLease | None, clocks: Clocks, now: datetime) -> datetime | None:
    """Return when the current outage began; None if the resident has served for long enough since."""
    if lease is None or lease.out_since is None:
        return None
    if lease.served_since is not None and now >= parse_time(lease.served_since) + clocks.min_serve:
        return None
    return parse_time(lease.out_since)


def is_exhausted(lease: GpuLease | None, clocks: Clocks, now: datetime) -> bool:
    """True if the resident has been unloaded for its `max_outage`: it is loaded next, and serves."""
    since = outage_since(lease, clocks, now)
    return since is not None and now >= since + clocks.max_outage


def idle_outage_left(lease: GpuLease, policy: Policy, now: datetime) -> float:
    """Return the seconds for which the resident may still stay unloaded without a live training pod (law 9)."""
    since = lease.unused_since or lease.acquired
    used = (now - parse_time(since)).total_seconds() if since else 0.0
    return policy.max_idle_outage - used


def serves_until(lease: GpuLease | None, resident: Resident | None, clocks: Clocks, now: datetime) -> datetime | None:
    """Return until when a resident serves after an exhausted outage; None if a turn may begin.

    An idle resident is not kept loaded just because `min_serve` has not elapsed.
    """
    if lease is None or lease.served_since is None or not is_exhausted(lease, clocks, now):
        return None
    report = resident.report if resident else None
    if report is not None and is_idle(report, clocks.idle_after):
        return None
    return parse_time(lease.served_since) + clocks.min_serve


def is_idle(report: GpuReport, idle_for: timedelta) -> bool:
    """True if a resident has no request in flight, and has had none for this long."""
    return report.in_flight == 0 and report.idle_seconds >= idle_for.total_seconds()
