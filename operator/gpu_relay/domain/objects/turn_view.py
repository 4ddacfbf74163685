"""The input of one decision about one GPU."""

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
    """A waiting job that may take the GPU of a running job."""

    name: str
    priority: int


@dataclass(frozen=True)
class TurnView:
    """The input of one decision about one GPU, read live within one reconcile."""

    now: datetime
    policy: Policy
    lease: GpuLease
    resident: Resident | None
    job: Job | None
    """The job of the turn, or of the turn after which a reload is pending; None if it no longer exists."""
    pods: tuple[TrainingPod, ...] = ()
    samples: tuple[int, ...] = ()
    """Free MiB of the measurements in a row since the hold was placed, newest last."""
    room: tuple[int, ...] = ()
    """Free MiB beside the loaded resident, of the measurements in a row, newest last; empty if it is not loaded."""
    free_before: int | None = None
    """Free MiB before the unload of this turn; None if this process did not measure it."""
    unload_message: str = ""
    failure: str = ""
    """Why the last action of this turn failed; empty if it succeeded."""
    refusal: Reason | None = None
    """Why the API server refused the training pod; `failure` has its message."""
    refused_for: float = 0.0
    """Seconds since it first refused, within this turn."""
    others: tuple[Resident, ...] = ()
    """Further residents on this GPU, although it has memory for one only: all are held."""
    load_failed: bool = False
    resident_missing_for: float = 0.0
    unwilling_for: float = 0.0
    """Seconds for which the resident has refused to unload, within this turn."""
    silent_for: float = 0.0
    """Seconds for which a resident has not answered, within this turn."""
    successor: str = ""
    """The job that gets this GPU next; empty if there is none."""
    progress: dict[str, Any] | None = None
    """The trainer's last response to `GET /progress`; None if there was none."""
    start_failing_for: float = 0.0
    """Seconds for which the kubelet has reported that the training pod's container cannot be started."""
    node_trouble: str = ""
    """Why the training pod's node is considered lost; empty while the node is ready, or the trainer responds."""
    preemptor: Preemptor | None = None
    """The waiting job for which the preemptible owner of this GPU must stop."""
    withdrawal: str = ""
    """Why Kueue has withdrawn the job's quota; empty if it has not, or without Kueue."""
    unreadable: str = ""
    """Why the job cannot be read, although it exists; `job` is then None. Empty if it can be read, or is gone."""
    unreadable_for: float = 0.0
    """Seconds for which this process has not been able to read it."""

    @property
    def residents(self) -> tuple[Resident, ...]:
        """Return all residents on this GPU."""
        return (self.resident, *self.others) if self.resident is not None else ()

    @property
    def managed(self) -> bool:
        """Return whether the turn has a resident; without one there is no measurement and no hand-over."""
        return self.lease.node != ""

    @property
    def own_pod(self) -> TrainingPod | None:
        """Return the training pod of this turn, live or ended."""
        job, fence = self.job, self.lease.fence
        return next((p for p in self.pods if job and p.job_uid == job.key.uid and p.fence == fence), None)

    @property
    def proven_free(self) -> int | None:
        """Return the free MiB after enough samples in a row; None before."""
        shares = self.job is not None and self.job.spec.gpu.sharing == "Coresident"
        report = self.resident.report if self.resident else None
        if shares and report is not None and len(self.room) >= self.policy.samples:
            return report.free_mib
        return self.samples[-1] if len(self.samples) >= self.policy.samples else None
