"""An Event on a job, or on the object that a Workload represents."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.objects.owner import JOB, WORKLOAD, JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.quantities import parse_time

REPORTER = "gpu-relay"
"""The component that reports all Events of the operator."""
_DIGITS = 12


@dataclass(frozen=True)
class JobEvent:
    """An Event on a job or Workload, which may have been deleted since."""

    namespace: str
    job: str
    uid: str
    reason: str
    message: str
    at: datetime
    warning: bool
    turn: int
    """Fence of the turn that the Event belongs to; outside a turn, a number of the job's own."""
    gpu: str = ""
    """GPU of the turn, as its Lease is named; empty outside a turn, and for Events of operators before 0.2."""
    node: str = ""
    outcome: str = ""
    """How an attempt ended."""
    next_job: str = ""
    """The job that owns the GPU next; empty where the resident is loaded first."""
    kind: str = JOB
    """The kind of owner that it is about: a YoloTrainingJob or a Workload, whose name and UID are `job` and `uid`."""
    represents: Represented | None = None
    """The object that the Workload represents; None for a job, and where that is unknown."""

    @property
    def key(self) -> JobKey:
        """Return the job or Workload that it is about."""
        return JobKey(self.namespace, self.job, self.uid, self.kind)


def job_event_of(raw: dict[str, Any]) -> JobEvent:
    """Read an Event. What the operator records of a turn for programs is in the annotations."""
    about, facts = raw["involvedObject"], raw["metadata"].get("annotations") or {}
    workload = facts.get(words.LABEL_WORKLOAD_UID, "")
    represents = Represented(about.get("kind", ""), about.get("name", ""), "", about.get("uid", ""))
    in_name = raw["metadata"]["name"].split(".")[2:3]
    return JobEvent(
        namespace=raw["metadata"]["namespace"],
        job=facts.get(words.ANNOTATION_WORKLOAD, "") if workload else about.get("name", ""),
        uid=workload or about.get("uid", ""),
        reason=raw.get("reason", ""),
        message=raw.get("message", ""),
        at=parse_time(raw.get("eventTime") or raw.get("lastTimestamp") or raw["metadata"]["creationTimestamp"]),
        warning=raw.get("type") == "Warning",
        turn=_number(facts.get(words.LABEL_FENCE) or "".join(in_name)),
        gpu=facts.get(words.LABEL_GPU, ""),
        node=facts.get(words.ANNOTATION_NODE, ""),
        outcome=facts.get(words.ANNOTATION_OUTCOME, ""),
        next_job=facts.get(words.ANNOTATION_NEXT_JOB, ""),
        kind=WORKLOAD if workload else JOB,
        represents=represents if workload and represents.kind != "Workload" else None,
    )


def _number(text: str) -> int:
    """Read a fence; 0 for anything else: any client that may write Events may write any text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _DIGITS else 0
