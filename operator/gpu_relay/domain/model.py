"""What the operator observes: jobs, pods, Leases and residents, reduced to what decisions need."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.quantities import memory_mib

HOLDER_RESIDENT = "resident"
_HOLDER_PREFIX = "yolotrainingjob"


@dataclass(frozen=True, order=True)
class JobKey:
    """A job, told apart from a later one of the same name by its UID."""

    namespace: str
    name: str
    uid: str

    @property
    def holder(self) -> str:
        """The Lease's `holderIdentity` while this job owns the GPU; also the holder of the resident's hold."""
        return f"{_HOLDER_PREFIX}/{self.namespace}/{self.name}/{self.uid}"

    @classmethod
    def from_holder(cls, holder: str) -> "JobKey | None":
        """Read a `holderIdentity`; None where it does not name a job."""
        parts = holder.split("/")
        return cls(*parts[1:]) if len(parts) == 4 and parts[0] == _HOLDER_PREFIX else None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def uid_of_holder(holder: str) -> str:
    """Return the UID of the job that a `holderIdentity` names; empty where it names none."""
    key = JobKey.from_holder(holder)
    return key.uid if key else ""


@dataclass(frozen=True)
class Grant:
    """Where the quota that a job was granted is to be used: on nodes with these labels, in spite of these taints."""

    node_labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def __add__(self, other: "Grant") -> "Grant":
        return Grant({**self.node_labels, **other.node_labels}, self.tolerations + other.tolerations)


@dataclass(frozen=True)
class Demand:
    """What a job asks of a GPU, apart from who it is: jobs that ask for the same are judged alike."""

    namespace: str
    need_mib: int
    node_labels: frozenset[tuple[str, str]]
    resident_labels: frozenset[tuple[str, str]]
    start_when: str
    idle_for: str | None
    tolerations: str = "[]"
    """As JSON, so that it can be compared."""


@dataclass(frozen=True)
class Job:
    """A YoloTrainingJob as it was last read."""

    key: JobKey
    generation: int
    resource_version: str
    created: str
    deleting: bool
    spec: YoloTrainingJobSpec
    status: YoloTrainingJobStatus
    local_queue: str = ""
    """The LocalQueue of Kueue that is to admit the job; empty where none is."""
    grant: Grant = Grant()
    """What Kueue has granted, where it was asked."""
    args_bytes: int = 0
    """Size of `spec.training.args` as JSON, once measured; where that is too large they are not kept."""

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels that the node of the job's GPU must have: the job's own wish, and where its quota is."""
        return {**self.spec.pod_template.node_selector, **self.grant.node_labels}

    @cached_property
    def demand(self) -> Demand:
        """What it asks of a GPU."""
        gpu = self.spec.gpu
        return Demand(
            self.key.namespace,
            self.need_mib,
            frozenset(self.node_selector.items()),
            frozenset(gpu.resident_selector.match_labels.items()),
            gpu.start_when,
            gpu.idle_for,
            json.dumps(self.tolerations),
        )

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        """What its pods tolerate besides the site's: the job's own wish, and where its quota is."""
        own = self.spec.pod_template.tolerations or []
        return [each.model_dump(by_alias=True, exclude_none=True) for each in own] + list(
            map(dict, self.grant.tolerations)
        )

    @property
    def need_mib(self) -> int:
        """GPU memory that the job asks for, in MiB."""
        return memory_mib(self.spec.gpu.memory)

    @property
    def next_attempt(self) -> int:
        """Number of the attempt that runs or comes next."""
        return self.status.attempts[-1].number + 1 if self.status.attempts else 1


@dataclass(frozen=True)
class UnreadableJob:
    """A YoloTrainingJob of which this version cannot read a field: it exists, and nothing else is known of it."""

    key: JobKey
    generation: int
    resource_version: str
    problem: str
    """A sentence that names the field."""
    is_reported: bool
    """True where the job's condition Unreadable has this sentence already."""


@dataclass(frozen=True)
class Termination:
    """How a trainer ended: its container's exit and its last word (an empty dict where it left none).

    Where the pod has ended and its trainer never ran, there is no exit code, and the pod's own reason counts.
    """

    exit_code: int | None
    reason: str
    last_word: dict[str, Any] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    pod_reason: str = ""
    """Why the kubelet ended the pod as a whole, for example Evicted; empty where only its container ended."""
    pod_message: str = ""
    failed_init: str = ""
    """The init container whose failure kept the trainer from running, `reason` says how; empty where none did."""


@dataclass(frozen=True)
class TrainingPod:
    """A training or preparing pod of any job."""

    namespace: str
    name: str
    uid: str
    job_uid: str
    gpu: str
    fence: int
    phase: str
    ip: str | None
    deleting: bool
    created: str
    waiting: str | None
    """Why the trainer does not run yet, in the scheduler's or kubelet's words; None once it runs."""
    termination: Termination | None
    """How the trainer ended, or the pod as a whole where the trainer never ran; None before."""
    outlived: bool = False
    """True where the trainer has ended and another container of the pod may still run: a sidecar."""
    waiting_reason: str = ""
    """The one word for `waiting`, as Kubernetes has it: Unschedulable, ErrImagePull, FailedMount, …"""
    waiting_on: str = ""
    """The init container that keeps the trainer from starting; empty where none is known to."""
    claims: tuple[str, ...] = ()
    """The PersistentVolumeClaims that it names."""
    node: str = ""
    disruption: str = ""
    """Why the cluster takes it away: the reason of its DisruptionTarget condition; empty where it does not."""
    delete_by: str | None = None
    """When a deletion's grace period ends; None while it is not being deleted, or where that is unknown."""
    proven_mib: int | None = None
    """Free MiB that were measured before it was created; None where it does not say."""

    @property
    def live(self) -> bool:
        """True while something of the pod may run, so that it holds its share of the GPU, whatever its trainer does.

        A deleted pod is live while it is listed as running.
        """
        return self.termination is None or self.outlived


@dataclass(frozen=True)
class Hold:
    """The resident's promise to stay unloaded."""

    holder: str
    fence: int
    expires_in_seconds: float


@dataclass(frozen=True)
class GpuReport:
    """A resident's answer to `GET /api/v1/gpu`. Sizes are MiB, measured by NVML at that moment."""

    uuid: str
    name: str
    total_mib: int
    reserved_mib: int
    used_mib: int
    free_mib: int
    need_mib: int
    model_loaded: bool
    state: str
    hold: Hold | None
    worker_allocated_mib: int = 0
    worker_cap_mib: int = 0
    """What the resident's model holds now, and the most that it lets itself grow to."""
    in_flight: int = 0
    idle_seconds: float = 0.0
    refused: int = 0
    """Requests refused under the present hold."""

    @property
    def room_mib(self) -> int:
        """Free memory that stays free when the loaded resident grows to its cap, in MiB."""
        return self.free_mib - max(0, self.worker_cap_mib - self.worker_allocated_mib)

    @property
    def held_under(self) -> int | None:
        """Fence under which the resident is unloaded and has promised to stay so; None where it is not, or has not."""
        return self.hold.fence if self.hold is not None and not self.model_loaded else None


@dataclass(frozen=True)
class Resident:
    """A resident pod and its report; `report` is None when it did not answer (`error` says why)."""

    namespace: str
    name: str
    uid: str
    node: str
    url: str
    labels: dict[str, str]
    report: GpuReport | None
    error: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    """Those of ours."""
    deleting: bool = False
    external: bool = False
    """True for one outside the cluster, known by its URL from the operator's settings."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class GpuLease:
    """Who owns a GPU. The Lease object is the only record; everything else is observed anew."""

    name: str
    resource_version: str
    gpu: str
    """The GPU's UUID as the resident reports it, or `unmanaged`."""
    holder: str
    fence: int
    acquired: str | None
    renew_key: str
    node: str
    reload_owed: str
    """Holder of the turn after which the resident is still to be loaded; empty when nothing is owed."""
    out_since: str | None = None
    """When the first turn of the present outage began; None while the resident was not unloaded by a turn."""
    served_since: str | None = None
    """When the resident was loaded after the last turn; None while it is out."""
    unused_since: str | None = None
    """Since when no training pod has been live in the present outage; None while the resident has its GPU."""
    missing_since: str | None = None
    """Since when no resident has reported this GPU, as the operator found between two turns; None where one does."""
    uid: str = ""

    @property
    def owner(self) -> JobKey | None:
        """The job that owns the GPU; None while the resident does."""
        return JobKey.from_holder(self.holder)


@dataclass(frozen=True)
class Policy:
    """Settings that decisions depend on. Times are seconds, sizes MiB."""

    samples: int = 3
    sample_interval: float = 0.5
    margin_mib: int = 256
    hold_ttl: float = 60.0
    progress_interval: float = 2.0
    pod_start_timeout: float = 600.0
    start_failure_timeout: float = 60.0
    memory_return_timeout: float = 30.0
    backoff_base: float = 10.0
    backoff_cap: float = 360.0
    max_outage: float = 1800.0
    min_serve: float = 60.0
    idle_after: float = 30.0
    restart_resident_after: float = 0.0
    """Seconds after which an unwilling resident's pod is deleted; 0 never does."""
    resident_grace: float = 60.0
    """Seconds for which a resident that is missing or silent is waited for; also before its absence counts as none."""
    max_idle_outage: float = 120.0
    """Seconds for which a resident may stay unloaded while no training pod is live; then it is loaded (law 9)."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    """What every training pod tolerates, by the site's pod template."""
    preparations: int = 2
    """Jobs of one namespace that are prepared at the same time; 0 prepares none."""
    stuck_after: float = 60.0
    grace_period: float = 60.0
    """Seconds in which a training that is told to stop writes its checkpoint."""


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
