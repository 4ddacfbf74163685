"""Everything that a decision about one GPU depends on."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from gpu_relay.api.v1alpha1 import Attempt, GpuStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import CONTEXT_MIB, GpuReport, Resident
from gpu_relay.domain.outage import Clocks, clocks_of, idle_outage_left, outage_since
from gpu_relay.domain.policy import Policy


@dataclass(frozen=True)
class Preemptor:
    """A waiting job that preempts a running one."""

    name: str
    priority: int


@dataclass(frozen=True)
class ProvenGpu:
    """A GPU of a Workload's turn whose memory is proven free, and what a pin of a pod needs to name it."""

    gpu: str
    """The name of its Lease."""
    fence: int
    uuid: str
    """As NVML reports it."""
    node: str
    host: str
    """The node's label `kubernetes.io/hostname`."""
    free_mib: int


def may_use_gpu(pod: TrainingPod, lease: GpuLease, *, may_appear: bool) -> bool:
    """True for a pod that has not ended, unless it is of a Workload, on no node, and finds none.

    The label of its turn has been removed. `may_appear` is True while pods of the present turn find the node.
    """
    if not pod.live or not pod.workload_uid or pod.node:
        return pod.live
    if lease.owner is None or pod.workload_uid != lease.owner.uid:
        return False
    return may_appear and not (pod.gpu == lease.gpu and pod.fence < lease.fence)


@dataclass(frozen=True)
class TurnView:
    """Everything that a decision about one GPU depends on, read live within one pass; derived facts are cached."""

    now: datetime
    policy: Policy
    lease: GpuLease
    resident: Resident | None
    job: Job | None
    """The owner of the turn, or of the turn after which a reload is pending; None if it no longer exists."""
    workload: CheckedWorkload | None = None
    """The Workload that owns the turn; None if a job does, or if it no longer exists."""
    pods: tuple[TrainingPod, ...] = ()
    samples: tuple[int, ...] = ()
    """Free MiB of the measurements in a row since the hold was placed, newest last."""
    room: tuple[int, ...] = ()
    """MiB free beside the loaded resident, measured in a row, newest last; empty if it is not loaded."""
    free_before: int | None = None
    """Free MiB before the unload of this turn, if this process measured it."""
    unload_message: str = ""
    failure: str = ""
    """Why the last action of this turn failed; empty if it succeeded."""
    refusal: Reason | None = None
    """Why the API server refuses the training pod; `failure` has its message."""
    refused_for: float = 0.0
    """Seconds since it first refused the pod, within this turn."""
    pod_may_appear: bool = False
    """A creation of this turn's training pod, by this process or a former one, may still take effect.

    In a Workload's turn: a pod may still be placed on the node.
    """
    is_pinned: bool = False
    """The GPU's node may have the label by which the pods of a Workload's turn find it."""
    others: tuple[Resident, ...] = ()
    """More residents that are known to be on this GPU, which has room for one: all of them are held."""
    context_mib: int = CONTEXT_MIB
    """What the resident holds besides its model, as measured at its last unload; the maximum before one."""
    load_failed: bool = False
    resident_missing_for: float = 0.0
    unwilling_for: float = 0.0
    """Seconds for which the resident has refused to unload, within this turn."""
    silent_for: float = 0.0
    """Seconds for which a resident has not answered, within this turn."""
    successor: str = ""
    """The job that waits for this GPU and can get it next; empty if there is none."""
    progress: dict[str, Any] | None = None
    """The progress that the trainer last reported; None before."""
    start_failing_for: float = 0.0
    """Seconds for which the kubelet has reported that the training pod's container cannot be started."""
    node_trouble: str = ""
    """Why the state of the training pod's node is unknown; empty if the node is ready, or the trainer answers."""
    preemptor: Preemptor | None = None
    """The waiting job that preempts the owner of this GPU."""
    withdrawal: str = ""
    """Why Kueue does not let the job continue; empty while it does, or if it does not manage the job."""
    unreadable: str = ""
    """Why a job that exists cannot be read; `job` is then None. Empty if it can be read, or is gone."""
    unreadable_for: float = 0.0
    """Seconds for which this process could not read it."""
    host: str = ""
    """The label `kubernetes.io/hostname` of the GPU's node; empty if unknown, or if a job owns the turn."""
    has_ended: bool = False
    """The check of a Workload was Ready for this turn and is not any more, or its label has been removed.

    The next quota of the Workload is for another turn.
    """
    node_label: str | None = None
    """The label `gpurelay.dev/pin` of the GPU's node; None if unknown, or if a job owns the turn."""
    podless_for: float = 0.0
    """Seconds for which a Workload's turn has had no live pod."""
    stopped_for: float = 0.0
    """Seconds for which a Workload that owns the turn has had no right to it."""
    had_pod: bool = False
    """True if this process has seen a live pod of a Workload's turn."""
    ran_for: float = 0.0
    """Seconds for which this process has seen pods of a Workload's turn run."""
    remembered_proof: int | None = None
    """Free MiB that were measured before the check of a Workload became Ready, if this process wrote that."""
    owned_gpus: int = 1
    """How many GPUs the owner has: Leases that name it."""
    proven_others: tuple[ProvenGpu, ...] = ()
    """The other GPUs of a Workload whose memory this process has proven a moment ago."""

    @cached_property
    def demand(self) -> Demand | None:
        """What the owner requires of the GPU; None if it no longer exists, or cannot be read."""
        claim = self.job or self.workload
        return claim.demand if claim is not None else None

    @cached_property
    def residents(self) -> tuple[Resident, ...]:
        """Return all residents on this GPU."""
        return (self.resident, *self.others) if self.resident is not None else ()

    @property
    def report(self) -> GpuReport | None:
        """The report of the resident that the GPU returns to; None if there is none, or it does not answer."""
        return self.resident.report if self.resident is not None else None

    @cached_property
    def silent_resident(self) -> Resident | None:
        """The first resident that does not answer; None if all do."""
        return next((each for each in self.residents if each.report is None), None)

    @property
    def managed(self) -> bool:
        """False for turns without a resident, which have no measurement and no handover."""
        return self.lease.node != ""

    @cached_property
    def held(self) -> bool:
        """True if every resident is unloaded, under a hold of this turn."""
        return all(self._holds(each.report) for each in self.residents)

    @cached_property
    def hold_is_due(self) -> bool:
        """True if a hold is missing (a resident has started or restarted), or a third of its ttl has passed."""
        reports = [each.report for each in self.residents if each.report is not None]
        return self.managed and any(not self._holds(each) or self._expires_soon(each) for each in reports)

    def _holds(self, report: GpuReport | None) -> bool:
        if report is None or report.hold is None or report.model_loaded or report.state != "unloaded":
            return False
        return report.hold.fence == self.lease.fence and report.hold.holder == self.lease.holder

    def _expires_soon(self, report: GpuReport) -> bool:
        return report.hold is not None and report.hold.expires_in_seconds < self.policy.hold_ttl * 2 / 3

    @cached_property
    def clocks(self) -> Clocks:
        """The clocks of the resident that the GPU returns to."""
        return clocks_of(self.policy, self.resident)

    @cached_property
    def outage_since(self) -> datetime | None:
        """When the current outage of the resident began; None without one."""
        return outage_since(self.lease, self.clocks, self.now)

    @cached_property
    def idle_outage_left(self) -> float:
        """Seconds for which the resident may stay unloaded without a live training pod (law 9)."""
        return idle_outage_left(self.lease, self.policy, self.now)

    @cached_property
    def live_pods(self) -> tuple[TrainingPod, ...]:
        """The training pods that use the GPU."""
        return tuple(pod for pod in self.pods if may_use_gpu(pod, self.lease, may_appear=self.pod_may_appear))

    @cached_property
    def own_pod(self) -> TrainingPod | None:
        """Return the training pod of this turn, live or ended."""
        uid, fence = self.owner_uid if self.is_workloads else self.job.key.uid if self.job else "", self.lease.fence
        own = (p for p in self.pods if uid and uid == (p.workload_uid if self.is_workloads else p.job_uid))
        return next((p for p in own if p.fence == fence), None)

    @property
    def is_workloads(self) -> bool:
        """True if a Workload owns the GPU, whether or not it still exists."""
        return self.lease.owner is not None and self.lease.owner.is_workload

    @property
    def owner_uid(self) -> str:
        """The UID of the owner; empty while the resident has the GPU."""
        return self.lease.owner.uid if self.lease.owner is not None else ""

    @property
    def is_ready(self) -> bool:
        """True if the check of the Workload is Ready for this turn: its pods may exist, or appear."""
        entry = self.workload.entry if self.workload is not None else None
        return entry is not None and entry.pins(self.lease.gpu, self.lease.fence)

    @cached_property
    def proven_mib(self) -> int | None:
        """Free MiB that were measured before the pod of this turn; None if unknown, or if it has not been allowed."""
        pod, entry = self.own_pod, self.workload.entry if self.workload is not None else None
        if pod is not None and pod.proven_mib is not None:
            return pod.proven_mib
        if entry is not None and self.is_ready:
            return entry.proven_mib
        return self.remembered_proof if self.is_workloads else self.gpu_status.free_after

    @cached_property
    def attempt(self) -> Attempt | None:
        """The recorded attempt of this turn; None before its end. Fences are compared on one GPU only."""
        attempts = self.job.status.attempts if self.job is not None else []
        return next((each for each in reversed(attempts) if self.is_this_turn(each.fence, each.gpu)), None)

    @cached_property
    def recorded_stop(self) -> Reason | None:
        """Why the operator stopped the pod of this turn, by the job's status; None if it did not."""
        return self.job.recorded_stop(self.lease.fence) if self.job is not None else None

    @cached_property
    def sharing(self) -> Literal["Coresident"] | None:
        """Whether this turn's pod runs beside the loaded resident, as the status recorded before the pod was created.

        The pod's own label is not used: a tenant can change it, and a hold would then expire.
        """
        turn = self.job.status.turn if self.job is not None else None
        return turn.sharing if turn is not None and self.is_this_turn(turn.fence, turn.gpu) else None

    @cached_property
    def gpu_status(self) -> GpuStatus:
        """What is known of the GPU of this turn, by the status, the resident and the training pod."""
        known = self._recorded_gpu()
        facts: dict[str, Any] = {}
        if self.own_pod is not None and self.own_pod.proven_mib is not None:
            facts["free_after"] = self.own_pod.proven_mib
        if self.resident is not None:
            facts |= {"node": self.resident.node, "resident": str(self.resident)}
        if self.report is not None:
            facts |= {"uuid": self.report.uuid, "name": self.report.name, "total": self.report.total_mib}
        if known.free_before is None and self.free_before is not None:
            facts["free_before"] = self.free_before
        return known.model_copy(update=facts)

    def _recorded_gpu(self) -> GpuStatus:
        if self.job is None:
            return GpuStatus()
        status = self.job.status
        same_turn = status.turn is not None and status.turn.fence == self.lease.fence
        return status.gpu if same_turn and status.gpu is not None else GpuStatus(needed=self.job.need_mib)

    def is_this_turn(self, fence: int, gpu: str | None) -> bool:
        """True if a fence is that of this turn; fences of two GPUs may be equal."""
        return fence == self.lease.fence and gpu in {None, self.lease.gpu}

    @cached_property
    def proven_free(self) -> int | None:
        """Return the free MiB after enough samples in a row; None before."""
        shares = self.job is not None and self.job.spec.gpu.sharing == "Coresident"
        if shares and self.report is not None and len(self.room) >= self.policy.samples:
            return self.report.free_mib
        return self.samples[-1] if len(self.samples) >= self.policy.samples else None
