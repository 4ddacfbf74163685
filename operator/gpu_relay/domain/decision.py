"""What a decision can contain: one action at most, a status, Events, and when to reconcile again.

The text of an action (`str`) is what the operator's log says of it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, Self, TypeVar

from gpu_relay.api.v1alpha1 import YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.usage import Account
from gpu_relay.domain.turn_view import ProvenGpu, TurnView


@dataclass(frozen=True)
class Unload:
    """Place or renew the turn's hold on every resident of the GPU, which unloads them."""

    eta: str | None = None

    def __str__(self) -> str:
        return "unloads the residents, or renews their hold"


@dataclass(frozen=True)
class RestartResident:
    """Delete the resident's pod, so that its controller creates a new one; off by default."""

    def __str__(self) -> str:
        return "deletes the resident's pod, which does not unload"


@dataclass(frozen=True)
class CreatePod:
    """Create the training pod of the job's next attempt."""

    attempt: int
    batch: int | Literal["auto"]
    coresident: bool = False
    proven_mib: int | None = None
    """Free MiB that were measured for it; None without a resident, which measures."""

    def __str__(self) -> str:
        measured = "" if self.proven_mib is None else f"; {self.proven_mib:,} MiB are free"
        beside = ", beside the loaded resident" if self.coresident else ""
        return f"creates the training pod of attempt {self.attempt}, with batch {self.batch}{beside}{measured}"


@dataclass(frozen=True)
class Prepare:
    """Create a preparing pod of the job."""

    number: int


@dataclass(frozen=True)
class DeletePod:
    """Stop a pod of the job: SIGTERM, checkpoint, exit."""

    pod: TrainingPod

    def __str__(self) -> str:
        return f"stops pod {self.pod.namespace}/{self.pod.name}"


@dataclass(frozen=True)
class ReturnLease:
    """Return the GPU's Lease to the resident, and record in the same update whether a reload is pending.

    `resident_unloaded` is False if the resident is loaded: the turn did not unload it. `handed_over` is True if the
    next job gets the GPU without a reload in between. `unused_since` is since when no training pod has been live.
    `used` is what the turn has used besides its time.
    """

    reload_pending: bool = True
    resident_unloaded: bool = True
    handed_over: bool = False
    unused_since: str | None = None
    used: Account = field(default_factory=Account)

    def __str__(self) -> str:
        pending = self.reload_pending and self.resident_unloaded
        return "returns the Lease; a reload is pending" if pending else "returns the Lease"


@dataclass(frozen=True)
class Load:
    """End the turn's hold on every resident of the GPU, and load the first."""

    def __str__(self) -> str:
        return "loads the resident"


@dataclass(frozen=True)
class HandOver:
    """Leave the GPU to the next job, without a reload in between."""

    def __str__(self) -> str:
        return "leaves the GPU to the next job, without a reload"


@dataclass(frozen=True)
class SettleReload:
    """Write into the Lease that the resident has been loaded."""

    def __str__(self) -> str:
        return "records that no reload is pending"


@dataclass(frozen=True)
class KeepProof:
    """Remember that a GPU of a Workload is proven free, until its other GPUs are."""

    proof: ProvenGpu

    def __str__(self) -> str:
        return f"{self.proof.free_mib:,} MiB are free; waits for the other GPUs"


@dataclass(frozen=True)
class Pin:
    """The nodes and the GPUs of a pod set."""

    pod_set: str
    gpus: tuple[ProvenGpu, ...]
    """At least one, and all GPUs of their nodes if these are several."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of its pods."""
        return tuple(dict.fromkeys(gpu.node for gpu in self.gpus))

    @property
    def turns(self) -> str:
        """Each GPU with the fence of its turn, as an annotation of the pods has them."""
        return ",".join(f"{each.gpu}={each.fence}" for each in self.gpus)

    @property
    def node_label(self) -> str:
        """The value of a label on its nodes: another one in each turn, so that an old label selects no node."""
        return hashlib.sha256(self.turns.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RemovePin:
    """Remove the label of a Workload's turn from its node: no pod of this turn is placed on it any more."""

    node: str

    def __str__(self) -> str:
        return f"lets no further pod of this turn run on node {self.node}"


@dataclass(frozen=True)
class MarkReady:
    """Set the check of a Workload to Ready, and pin its pods to the GPUs that were measured."""

    workload: CheckedWorkload
    message: str
    pins: tuple[Pin, ...]

    @property
    def proven_mib(self) -> int:
        """The free MiB that were measured, of several GPUs the least."""
        return min(gpu.free_mib for pin in self.pins for gpu in pin.gpus)

    def __str__(self) -> str:
        return f"sets the check of Workload {self.workload.key} to Ready; {self.proven_mib:,} MiB are free"


@dataclass(frozen=True)
class WithdrawReady:
    """Set the check of a Workload that has no right to a GPU back to Pending: it would start at its next quota."""

    workload: CheckedWorkload

    def __str__(self) -> str:
        return f"sets the check of Workload {self.workload.key} back to Pending"


@dataclass(frozen=True)
class EvictWorkload:
    """Have Kueue stop the pods of a Workload and queue it again: its check is set to Retry."""

    workload: CheckedWorkload
    message: str
    reason: Reason = Reason.STOPPING
    pauses: bool = False
    """True if it must not have another turn immediately."""

    def __str__(self) -> str:
        return f"has Kueue evict Workload {self.workload.key}: {self.message}"


CheckAction = MarkReady | WithdrawReady | EvictWorkload
Action = (
    Unload
    | RestartResident
    | CreatePod
    | Prepare
    | DeletePod
    | ReturnLease
    | Load
    | HandOver
    | SettleReload
    | KeepProof
    | RemovePin
    | CheckAction
)


@dataclass(frozen=True)
class EventRecord:
    """An Event on the job. Programs read `facts`, which become the annotations of the Event."""

    reason: Reason
    message: str
    warning: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)


A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class GenericDecision(Generic[A]):
    """The outcome of one reconcile: a status, Events and an action. `controllers.apply` applies them in order."""

    action: A | None = None
    job: Job | None = None
    status: YoloTrainingJobStatus | None = None
    events: tuple[EventRecord, ...] = ()
    note: str = ""
    """What the Pending check of a Workload shows from now on; empty keeps its message."""
    requeue_after: float | None = None
    """Seconds after which to reconcile again; None waits for a change in the cluster."""
    measuring: bool = False
    """True if only another sample is needed, unless something changes."""

    @classmethod
    def wait(cls) -> Self:
        """Do nothing until something changes in the cluster."""
        return cls()

    @classmethod
    def act(cls, action: A | None, *, requeue_after: float | None = None) -> Self:
        """Take an action, without a change of the job's status."""
        return cls(action=action, requeue_after=requeue_after)

    @classmethod
    def requeue(cls, after: float) -> Self:
        """Do nothing, and reconcile again after so many seconds."""
        return cls(requeue_after=after)


Decision = GenericDecision[Action]
Rule = Callable[[TurnView], Decision | None]
"""One rule of a plan: returns a decision, or None if it does not apply."""
