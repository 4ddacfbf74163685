"""Simulated GPUs and Kueue for the plan of a Workload's turns; every step is checked against the laws."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from gpu_relay.controllers.turn_state import LONGEST_GAP, TurnState
from gpu_relay.controllers.workload_follower import WorkloadFollower
from gpu_relay.domain.decision import (
    CheckAction,
    Decision,
    DeletePod,
    EvictWorkload,
    KeepProof,
    Load,
    MarkReady,
    RemovePin,
    ReturnLease,
    SettleReload,
    Unload,
    WithdrawReady,
)
from gpu_relay.domain.objects.checked_workload import PENDING, READY, CheckedWorkload, CheckEntry
from gpu_relay.domain.objects.demand import PodGpus
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.pod_set import PodSet
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.property.job_simulation import SimulatedJob
from tests.support import builders
from tests.support.builders import FREE_MIB, MODEL_MIB

NEED = 10240
POLICY = Policy(memory_return_timeout=5)


def workload(number: int = 1, gpus: int = 1, **fields: Any) -> CheckedWorkload:
    """Return a Workload with one pod, which waits for quota."""
    key = JobKey("team", "job", f"uid-{number}", WORKLOAD)
    made = CheckedWorkload(key, "1", "2026-01-01T00:00:00Z", CheckEntry("gpu-relay", PENDING), need_mib=NEED)
    return replace(made, pod_sets=(PodSet("main", PodGpus(1, gpus)),), **fields)


@dataclass(eq=False)
class SimulatedGpu:
    """One GPU of a node, its resident, its Lease, and what the operator's process remembers of it."""

    lease: GpuLease
    state: TurnState
    loaded: bool = True
    hold: Hold | None = None
    foreign: int = 0
    reachable: bool = True
    resident_exists: bool = True
    allocated: dict[str, int] = field(default_factory=dict)
    """MiB that the processes of pods use, also after the pod is gone from the API."""
    is_unknown: bool = False
    """True if the operator's process has not seen the pod: how much was free before it is unknown."""

    unused_for: int = 0
    """Reconciles in a row for which a Workload that has finished has had this GPU, and nothing prevents its return."""

    def used(self) -> int:
        """Return the MiB in use on the GPU."""
        return (MODEL_MIB if self.loaded else 0) + self.foreign + sum(self.allocated.values())


class SimulatedWorkload(SimulatedJob):
    """One Job in Kueue, whose pod has all GPUs of a node; the Workload may be replaced by another of the same name."""

    def start(self, gpus: int = 1) -> None:
        """Begin with loaded residents and a Workload without quota."""
        self.kueue_up, self.nodes_answer = True, True
        self.gpus: list[SimulatedGpu] = []
        for number in range(1, gpus + 1):
            lease = builders.lease(None, f"gpu-{number}", fence=10 * number, acquired=None)
            self.gpus.append(SimulatedGpu(lease, self.new_state(lease)))
        self.workload: CheckedWorkload | None = workload(gpus=gpus)
        self.start_job()
        self.stopped_turns: set[frozenset[tuple[str, int]]] = set()
        """Turns of which the operator's process has seen that the check was Ready, and that Kueue has stopped."""
        self.successor = ""

    def new_state(self, lease: GpuLease) -> TurnState:
        """Return what a process remembers of a turn at its beginning."""
        return TurnState(lease, monotonic=lambda: self.now.timestamp())

    def forget(self) -> None:
        """Drop what the operator knows in memory only, as a restart does; another process may have begun the turn."""
        self.stopped_turns.clear()
        for gpu in self.gpus:
            gpu.state = self.new_state(gpu.lease)
            gpu.is_unknown = bool(gpu.allocated)
            if gpu.lease.owner is not None:
                gpu.state.unanswered_creation, gpu.state.is_pinned = self.now.timestamp(), True

    def change(self, **fields: Any) -> None:
        """Change the Workload, as any client does."""
        if self.workload is not None:
            self.version += 1
            self.workload = replace(self.workload, resource_version=str(self.version), **fields)

    def dispatch_if_free(self, leases: int = 9) -> None:
        """Give the Leases of the idle GPUs to the Workload, as the scheduler does; it may crash after some."""
        one = self.workload
        free = all(gpu.lease.holder == HOLDER_RESIDENT and not gpu.lease.reload_pending for gpu in self.gpus)
        if one is None or not one.waits or not free:
            return
        now = timestamp(self.now)
        for gpu in self.gpus[:leases]:
            fence = gpu.lease.fence + 1
            gpu.lease = replace(gpu.lease, holder=one.key.holder, fence=fence, acquired=now, unused_since=now)
            gpu.state = self.new_state(gpu.lease)

    def free(self, pod: TrainingPod) -> None:
        """End the processes of a pod."""
        for gpu in self.gpus:
            gpu.allocated.pop(pod.name, None)

    def was_seen_ready(self) -> bool:
        """Return whether the operator's process has read the check as Ready for the turn of each GPU."""
        return all(gpu.state.was_ready for gpu in self.gpus)

    def view(self, gpu: SimulatedGpu) -> TurnView:
        """Observe, take a sample of free memory, and return what the plan sees."""
        seen, state = None, gpu.state
        if gpu.resident_exists:
            reported = builders.report(loaded=gpu.loaded, used=gpu.used(), hold=gpu.hold, need_mib=MODEL_MIB)
            seen = builders.resident(reported if gpu.reachable else None)
        state.note_pods(self.pods.values())
        gpu.is_unknown = gpu.is_unknown and not self.live()
        report = seen.report if seen is not None else None
        if report is not None:
            state.reported_at = self.now.timestamp()
            state.take_sample(report, state.reported_at, keep=POLICY.samples, apart=0.1)
        else:
            state.forget_samples()
        mine = [each for each in self.gpus if each.lease.holder == gpu.lease.holder]
        state.companions = tuple(each.state for each in mine if each is not gpu)
        owner = gpu.lease.owner
        known = self.workload if self.workload is not None and owner == self.workload.key else None
        view = TurnView(
            now=self.now, policy=POLICY, lease=gpu.lease, resident=seen, job=None, workload=known,
            pods=tuple(self.pods.values()), samples=tuple(state.samples), host="node-1", successor=self.successor,
            failure=state.failure, load_failed=state.load_failed, owned_gpus=len(mine),
            pod_may_appear=state.pod_may_appear(POLICY.request_timeout),
        )  # fmt: skip
        follower = WorkloadFollower(cast("Any", None), cast("Any", None), POLICY)
        return follower.completed(view, state) if view.is_workloads else view

    def reconcile(self, *, crashes: bool = False) -> None:
        """Reconcile every GPU: decide and apply; a crash after a decision loses the action."""
        self.now += timedelta(seconds=1)
        for gpu in self.gpus:
            view = self.view(gpu)
            decision = turn.plan(view)
            if crashes:
                self.forget()
                return
            if not isinstance(decision.action, KeepProof):
                gpu.state.proof = None
            self.note(view, decision)
            self.take(gpu, view, decision)
            self.expect_return_of_finished(gpu)

    def note(self, view: TurnView, decision: Decision) -> None:
        """Write the message of the check, which comes before the action."""
        one = view.workload
        if decision.note and one is not None and one.is_asked and one.entry is not None and self.kueue_up:
            self.write(one, replace(one.entry, message=decision.note))

    def write(self, judged: CheckedWorkload, entry: CheckEntry) -> bool:
        """Write an entry of the Workload that was judged; False for a conflict, or while Kueue's webhook is down."""
        one = self.workload
        if not self.kueue_up or one is None or one.resource_version != judged.resource_version:
            return False
        if one.entry is None:
            return False
        self.change(entry=entry)
        return True

    def take(self, gpu: SimulatedGpu, view: TurnView, decision: Decision) -> None:
        """Check an action against the laws, and apply it."""
        match decision.action:
            case Unload():
                assert gpu.lease.owner is not None, "law 5: the Lease comes before the unload"
                if gpu.reachable and gpu.resident_exists:
                    gpu.loaded, gpu.hold = False, Hold(gpu.lease.holder, gpu.lease.fence, 60.0)
            case MarkReady() | WithdrawReady() | EvictWorkload() | KeepProof() | RemovePin():
                self.answer(gpu, decision.action)
            case DeletePod(pod):
                self.pods[pod.name] = replace(pod, deleting=True, delete_by=timestamp(self.now))
            case ReturnLease(pending, _, _, unused_since, _):
                self.return_lease(gpu, view, unused_since, pending=pending)
            case Load():
                self.load(gpu)
            case SettleReload():
                assert gpu.loaded, "law 3: a pending reload is settled by a load"
                gpu.lease = replace(gpu.lease, reload_pending="", unused_since=None)

    def answer(self, gpu: SimulatedGpu, action: CheckAction | KeepProof | RemovePin) -> None:
        """Write a state of the check, remember a proof until the other GPUs have theirs, or remove the node's label."""
        if isinstance(action, KeepProof):
            gpu.state.proof = action.proof
            return
        if isinstance(action, RemovePin):
            if self.nodes_answer:
                self.remove_label()
            gpu.state.note_pin(removed=self.nodes_answer)
            return
        judged = action.workload
        assert judged.entry is not None
        if not isinstance(action, MarkReady):
            state = "Retry" if isinstance(action, EvictWorkload) else PENDING
            self.write(judged, replace(judged.entry, state=state))
            return
        turns = frozenset((each.gpu, each.fence) for pin in action.pins for each in pin.gpus)
        assert turns == {(each.lease.gpu, each.lease.fence) for each in self.gpus}, "law 1: every GPU is proven"
        assert turns not in self.stopped_turns, "a Workload that Kueue has stopped takes its GPU again"
        held = gpu.hold is not None and gpu.hold.fence == gpu.lease.fence and not gpu.loaded
        assert held, "law 1: the resident is held for this turn"
        for each in self.gpus:
            self.expect_proof(each, action)
            each.state.note_pin(removed=False)
        self.label = turns
        written = self.write(judged, CheckEntry("gpu-relay", READY, "", turns, action.proven_mib))
        for each in self.gpus:
            if written:
                each.state.remembered_proof = action.proven_mib
            each.state.forget_samples()

    def return_lease(self, gpu: SimulatedGpu, view: TurnView, unused_since: str | None, *, pending: bool) -> None:
        """Give the GPU back to the resident."""
        self.expect_no_pod(gpu, view)
        if gpu.state.is_pinned:  # a law must give way: 9, that outages are bounded, or 1
            assert view.podless_for > POLICY.max_idle_outage + POLICY.request_timeout, "law 1: a pod may still appear"
            self.remove_label()
        gpu.lease = replace(
            gpu.lease, holder=HOLDER_RESIDENT, reload_pending=gpu.lease.holder if pending else "",
            acquired=timestamp(self.now), unused_since=unused_since,
        )  # fmt: skip
        gpu.state, gpu.is_unknown = self.new_state(gpu.lease), False

    def expect_return_of_finished(self, gpu: SimulatedGpu) -> None:
        """Check that a Workload that has finished does not keep its GPU."""
        one, works = self.workload, gpu.reachable and gpu.resident_exists and self.nodes_answer
        finished = one is not None and one.finished and gpu.lease.owner == one.key
        gpu.unused_for = gpu.unused_for + 1 if finished and works and not self.live() else 0
        assert gpu.unused_for < 15, "law 9: a Workload that has finished keeps its GPU"

    def expect_proof(self, gpu: SimulatedGpu, action: MarkReady) -> None:
        """Check laws 1, 2 and 5: Ready comes after the Lease, and after enough samples under this turn's hold."""
        assert gpu.lease.holder == action.workload.key.holder, "law 5: the Lease is first"
        assert not self.live(), "law 2: no pod of a former turn is live"
        samples = gpu.state.samples
        assert len(samples) >= POLICY.samples, "law 1: several samples"
        assert min(samples[-POLICY.samples :]) >= NEED + POLICY.margin_mib, "law 1: each sample is enough"
        assert action.proven_mib >= NEED, "law 1: the pin records the measured memory"
        assert self.now.timestamp() - gpu.state.reported_at < LONGEST_GAP, "law 1: the samples are recent"

    def expect_no_pod(self, gpu: SimulatedGpu, view: TurnView) -> None:
        """Check law 2: the Lease is returned when the pods are gone, and the memory is measured free or overdue."""
        assert not self.live(), "law 2: the Lease is returned after the pods have ended"
        one = self.workload
        ready = one is not None and one.entry is not None and one.entry.state == READY
        mine = ready and one is not None and gpu.lease.holder == one.key.holder and not one.finished
        assert not mine or view.podless_for > POLICY.max_idle_outage, "law 1: no Ready outlives its turn"
        overdue = view.podless_for >= POLICY.memory_return_timeout
        assert overdue or view.report is not None, "law 10: what is not measured is not free"
        assert overdue or gpu.is_unknown or not any(gpu.allocated.values()), "law 2: the memory is measured free"

    def load(self, gpu: SimulatedGpu) -> None:
        """Check laws 2 and 5, and load the resident, where the memory is free."""
        assert gpu.lease.holder == HOLDER_RESIDENT, "law 5: the Lease is returned before the load"
        assert not self.live(), "law 2: no load beside a live pod"
        gpu.hold = None
        if gpu.loaded or gpu.used() + MODEL_MIB <= FREE_MIB:
            gpu.loaded, gpu.state.load_failed, gpu.state.failure = True, False, ""
        else:
            gpu.state.load_failed, gpu.state.failure = True, "503: not enough free memory"
