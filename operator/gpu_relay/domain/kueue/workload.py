"""The Workload of a job in Kueue's queue, and the actions on it.

The types of conditions and their reasons are Kueue's own (`kueue.x-k8s.io/v1beta2`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.domain.objects.demand import Grant


@dataclass(frozen=True)
class Workload:
    """The Workload of a job in Kueue's queue, with the state that Kueue reports."""

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
    """A hash of what was requested; another one means that the job has changed its request."""
    active: bool
    deleting: bool
    conditions: tuple[Mapping[str, Any], ...]
    flavors: tuple[str, ...] = ()
    """ResourceFlavors of the quota that is reserved."""
    reserved: bool = False
    """True while quota is reserved for it, even if it is not, or no longer, admitted."""
    checks: Grant = field(default_factory=Grant)
    """What admission checks require of the pod."""

    def condition(self, kind: str) -> Mapping[str, Any]:
        """Return a condition; empty if there is none of that type."""
        return next((each for each in self.conditions if each["type"] == kind), {})

    def holds(self, kind: str) -> bool:
        """True if a condition is True."""
        return self.condition(kind).get("status") == "True"

    @property
    def admitted(self) -> bool:
        """True while Kueue lets the job have its quota."""
        ends = self.deleting or self.holds("Evicted") or self.holds("Finished")
        return self.holds("Admitted") and self.reserved and self.active and not ends

    @property
    def reason(self) -> str:
        """Why Kueue has not admitted it; empty while Kueue has not reported why."""
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
    """Create the Workload of the job."""


@dataclass(frozen=True)
class AdoptWorkload:
    """Make the job the owner of the Workload that its label names."""


@dataclass(frozen=True)
class WithdrawRequest:
    """Delete the Workload: the job leaves Kueue's queue, or is about to request quota again."""

    workload: Workload


@dataclass(frozen=True)
class ChangeRequest:
    """Move the Workload to another LocalQueue, or change its priority."""

    workload: Workload
    queue: str
    priority: int


@dataclass(frozen=True)
class ReturnQuota:
    """Return the quota of an evicted Workload after the job has stopped."""

    workload: Workload


@dataclass(frozen=True)
class SayPodsReady:
    """Report to Kueue that the job's pod runs."""

    workload: Workload


@dataclass(frozen=True)
class FinishWorkload:
    """Report to Kueue that the job has finished, which frees its quota."""

    workload: Workload
    reason: str
    message: str


ChangeAction = WithdrawRequest | ChangeRequest | ReturnQuota | SayPodsReady | FinishWorkload
"""What is done to a Workload of the job."""
AdmissionAction = AskForQuota | AdoptWorkload | ChangeAction
