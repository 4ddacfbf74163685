"""The identity of an owner of a GPU, and its codec: the `holderIdentity` of a Lease, and the holder of a hold."""

from dataclasses import dataclass, field
from typing import Self

JOB = "yolotrainingjob"
WORKLOAD = "workload"
"""The kinds of owners: a YoloTrainingJob, and a Workload of Kueue that has the operator's admission check."""
_KINDS = frozenset({JOB, WORKLOAD})


@dataclass(frozen=True, order=True)
class JobKey:
    """The identity of a job, or of a Workload. The UID distinguishes it from a later one of the same name."""

    namespace: str
    name: str
    uid: str
    kind: str = field(default=JOB, metadata={"omit_default": True})

    @property
    def holder(self) -> str:
        """Return the Lease's `holderIdentity` while this job owns the GPU; also the holder of the resident's hold."""
        return f"{self.kind}/{self.namespace}/{self.name}/{self.uid}"

    @property
    def is_workload(self) -> bool:
        """True for a Workload."""
        return self.kind == WORKLOAD

    @classmethod
    def from_holder(cls, holder: str) -> Self | None:
        """Read a `holderIdentity`; None if it names neither a job nor a Workload."""
        parts = holder.split("/")
        return cls(parts[1], parts[2], parts[3], parts[0]) if len(parts) == 4 and parts[0] in _KINDS else None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def uid_of_holder(holder: str) -> str:
    """Return the UID of the job or Workload that a `holderIdentity` names; empty if it names none."""
    key = JobKey.from_holder(holder)
    return key.uid if key else ""
