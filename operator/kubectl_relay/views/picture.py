"""What could be read of the relay, and sentences on what could not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpu_relay.api import words
from gpu_relay.domain.objects.job import Job, JobKey, Object
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.quantities import parse_time

_DIGITS = 12


@dataclass(frozen=True)
class Leader:
    """The Lease by which the operators elect their leader."""

    holder: str
    renewed: datetime | None
    duration: timedelta

    def silent_for(self, now: datetime) -> timedelta | None:
        """Return for how long no operator has led; None while one does."""
        if self.holder and self.renewed is not None and now - self.renewed <= 2 * self.duration:
            return None
        return now - self.renewed if self.renewed is not None else timedelta()


@dataclass(frozen=True)
class Told:
    """An Event on a job, which may be gone already."""

    namespace: str
    job: str
    uid: str
    reason: str
    message: str
    at: datetime
    warning: bool
    turn: int
    """Fence of the turn that it belongs to; for what happens outside a turn, a number of the job's own."""
    gpu: str = ""
    """GPU of the turn, as its Lease is named; empty outside a turn, and for Events of operators before 0.2."""
    node: str = ""
    outcome: str = ""
    """How an attempt ended."""
    next_job: str = ""
    """The job that has the GPU next; empty where the resident is loaded first."""


@dataclass(frozen=True)
class Picture:
    """One look at the relay. What is None could not be read."""

    now: datetime
    """By the API server's clock, in the time zone of whoever asks."""
    jobs: tuple[Job, ...] = ()
    everywhere: bool = True
    """True where the jobs of all namespaces are among `jobs`."""
    leases: Mapping[str, GpuLease] | None = None
    """By GPU."""
    leader: Leader | None = None
    residents: tuple[Resident, ...] | None = None
    """With their reports, where they could be asked."""
    node_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the nodes that were looked at, by name."""
    events: tuple[Told, ...] | None = None
    unknown: tuple[str, ...] = field(default=())
    """What could not be read, and what that would take."""

    def job(self, key: JobKey) -> Job | None:
        """Return a job, None where it is gone or cannot be seen."""
        return next((job for job in self.jobs if job.key == key), None)


def leader_of(raw: Object) -> Leader:
    """Read the leader's Lease."""
    spec = raw.get("spec", {})
    renewed = spec.get("renewTime")
    return Leader(
        holder=spec.get("holderIdentity", ""),
        renewed=parse_time(renewed) if renewed else None,
        duration=timedelta(seconds=spec.get("leaseDurationSeconds", 1)),
    )


def told_of(raw: Object) -> Told:
    """Read one of the operator's Events. What it says of a turn for programs is in its annotations."""
    about, facts = raw["involvedObject"], raw["metadata"].get("annotations") or {}
    in_name = raw["metadata"]["name"].split(".")[2:3]
    return Told(
        namespace=raw["metadata"]["namespace"],
        job=about.get("name", ""),
        uid=about.get("uid", ""),
        reason=raw.get("reason", ""),
        message=raw.get("message", ""),
        at=parse_time(raw.get("eventTime") or raw.get("lastTimestamp") or raw["metadata"]["creationTimestamp"]),
        warning=raw.get("type") == "Warning",
        turn=_number(facts.get(words.LABEL_FENCE) or "".join(in_name)),
        gpu=facts.get(words.LABEL_GPU, ""),
        node=facts.get(words.ANNOTATION_NODE, ""),
        outcome=facts.get(words.ANNOTATION_OUTCOME, ""),
        next_job=facts.get(words.ANNOTATION_NEXT_JOB, ""),
    )


def _number(text: str) -> int:
    """Read a fence; 0 for what is none: whoever may write Events may write anything."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else 0
