"""What stands for a job in Kueue's queue, and what may be done to it.

The types of conditions and their reasons are Kueue's own (`kueue.x-k8s.io/v1beta2`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.domain.objects.job import Grant


@dataclass(frozen=True)
class Workload:
    """What stands for a job in Kueue's queue, with what Kueue says of it."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: str
    job_uid: str
    queue: str
    priority: int
    request: str
    """A hash of what was asked for; another one means that the job now asks for something else."""
    active: bool
    deleting: bool
    conditions: tuple[Mapping[str, Any], ...]
    flavors: tuple[str, ...] = ()
    """ResourceFlavors of the quota that is reserved."""
    reserved: bool = False
    """True while quota is reserved for it, even if it is not, or no longer, admitted."""
    checks: Grant = field(default_factory=Grant)
    """What admission checks ask of the pod."""

    def condition(self, kind: str) -> Mapping[str, Any]:
        """Return a condition, empty while there is none of that type."""
        return next((each for each in self.conditions if each["type"] == kind), {})

    def holds(self, kind: str) -> bool:
        """True when a condition is True."""
        return self.condition(kind).get("status") == "True"

    @property
    def admitted(self) -> bool:
        """True while Kueue lets the job have its quota."""
        ends = self.deleting or self.holds("Evicted") or self.holds("Finished")
        return self.holds("Admitted") and self.reserved and self.active and not ends

    @property
    def words(self) -> str:
        """Why it is not admitted, as Kueue says it; empty while it has not said anything."""
        if self.deleting:
            return "its Workload is being deleted"
        if not self.active and not self.holds("Evicted"):
            return "The workload is deactivated"
        for kind, status in (("Evicted", "True"), ("QuotaReserved", "False"), ("Admitted", "False")):
            condition = self.condition(kind)
            if condition.get("status") == status and condition.get("message"):
                return str(condition["message"])
        return "its quota is reserved; admission checks are not done yet" if self.reserved else ""


@dataclass(frozen=True)
class AskForQuota:
    """Create the Workload that stands for the job."""


@dataclass(frozen=True)
class WithdrawRequest:
    """Delete the Workload: the job leaves Kueue's queue, or is about to ask anew."""

    workload: Workload


@dataclass(frozen=True)
class ChangeRequest:
    """Move the Workload to another LocalQueue, or change its priority."""

    workload: Workload
    queue: str
    priority: int


@dataclass(frozen=True)
class ReturnQuota:
    """Give the quota of an evicted Workload back, now that nothing of the job runs."""

    workload: Workload


@dataclass(frozen=True)
class SayPodsReady:
    """Tell Kueue that the job's pod runs."""

    workload: Workload


@dataclass(frozen=True)
class FinishWorkload:
    """Tell Kueue that the job is over, which frees its quota."""

    workload: Workload
    reason: str
    message: str


AdmissionAction = AskForQuota | WithdrawRequest | ChangeRequest | ReturnQuota | SayPodsReady | FinishWorkload
