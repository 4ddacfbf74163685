"""All that one decision about one GPU is made from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.policy import Policy


@dataclass(frozen=True)
class Preemptor:
    """A waiting job that may have a running job's GPU."""

    name: str
    priority: int


@dataclass(frozen=True)
class TurnView:
    """All that one decision about one GPU is made from. Read live, within one pass."""

    now: datetime
    policy: Policy
    lease: GpuLease
    resident: Resident | None
    job: Job | None
    """The owner of the turn, or of the turn after which a reload is owed; None where it no longer exists."""
    pods: tuple[TrainingPod, ...] = ()
    samples: tuple[int, ...] = ()
    """Free MiB measured since the hold was placed, in a row, newest last."""
    room: tuple[int, ...] = ()
    """The room beside the loaded resident in MiB, measured in a row, newest last; empty where it is not loaded."""
    free_before: int | None = None
    """Free MiB before the unload of this turn, where this process measured it."""
    unload_message: str = ""
    failure: str = ""
    """Why the last effect of this turn failed; empty when it succeeded."""
    refusal: Reason | None = None
    """Why the API server would not have the training pod; `failure` has its words."""
    refused_for: float = 0.0
    """Seconds since it first would not, within this turn."""
    others: tuple[Resident, ...] = ()
    """Further residents that are known to be on this GPU, which has room for one: all of them are held."""
    load_failed: bool = False
    resident_missing_for: float = 0.0
    unwilling_for: float = 0.0
    """Seconds for which the resident has refused to unload, within this turn."""
    silent_for: float = 0.0
    """Seconds for which a resident has not answered, within this turn."""
    successor: str = ""
    """The job that waits for this GPU and may have it next; empty when there is none."""
    progress: dict[str, Any] | None = None
    """The trainer's own words, as it last said them; None where it has not said any."""
    start_failing_for: float = 0.0
    """Seconds for which the kubelet has said that the training pod's container cannot be started."""
    node_trouble: str = ""
    """Why nothing is known of the training pod's node; empty while the node is well, or the trainer answers."""
    preemptor: Preemptor | None = None
    """The waiting job for which a preemptible owner of this GPU is to stop."""
    withdrawal: str = ""
    """Why Kueue does not let the job go on; empty while it does, or is not to be asked."""
    unreadable: str = ""
    """Why the job exists and cannot be read; `job` is then None. Empty where it can be read, or is gone."""
    unreadable_for: float = 0.0
    """Seconds for which this process has found it so."""

    @property
    def residents(self) -> tuple[Resident, ...]:
        """All residents on this GPU."""
        return (self.resident, *self.others) if self.resident is not None else ()

    @property
    def managed(self) -> bool:
        """False for turns without a resident, which have no measurement and no hand-over."""
        return self.lease.node != ""

    @property
    def own_pod(self) -> TrainingPod | None:
        """The training pod of this turn, live or ended."""
        job, fence = self.job, self.lease.fence
        return next((p for p in self.pods if job and p.job_uid == job.key.uid and p.fence == fence), None)

    @property
    def proven_free(self) -> int | None:
        """Free MiB at the end of enough samples in a row; None before."""
        shares = self.job is not None and self.job.spec.gpu.sharing == "Coresident"
        report = self.resident.report if self.resident else None
        if shares and report is not None and len(self.room) >= self.policy.samples:
            return report.free_mib
        return self.samples[-1] if len(self.samples) >= self.policy.samples else None
