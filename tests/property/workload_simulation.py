"""A simulated GPU and Kueue for the plan of a Workload's turn; every step is checked against the laws."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from gpu_relay.controllers.turn_state import TurnState
from gpu_relay.controllers.workload_follower import WorkloadFollower
from gpu_relay.domain.decision import (
    CheckAction,
    Decision,
    DeletePod,
    EvictWorkload,
    Load,
    MarkReady,
    ReturnLease,
    SettleReload,
    Unload,
    WithdrawReady,
)
from gpu_relay.domain.objects.checked_workload import PENDING, READY, CheckedWorkload, CheckEntry
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT
from gpu_relay.domain.objects.owner import WORKLOAD, JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.turn import plan as turn
from gpu_relay.domain.turn_view import TurnView
from tests.support import builders
from tests.support.builders import FREE_MIB, MODEL_MIB

NEED = 10240
POLICY = Policy(memory_return_timeout=5)
LATE = 10.0
"""Seconds after a stop in which the Job controller, which has not seen it, may still create a pod."""


def workload(number: int = 1, **fields: Any) -> CheckedWorkload:
    """Return a Workload that waits for quota."""
    key = JobKey("team", "job", f"uid-{number}", WORKLOAD)
    made = CheckedWorkload(key, "1", "2026-01-01T00:00:00Z", CheckEntry("gpu-relay", PENDING), need_mib=NEED)
    return replace(made, pod_set="main", **fields)


class SimulatedWorkload:
    """One Job in Kueue, one GPU, one resident; the Workload may be replaced by another of the same name."""

    def start(self) -> None:
        """Begin with a loaded resident and a Workload without quota."""
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.loaded, self.hold, self.foreign = True, cast("Hold | None", None), 0
        self.reachable = self.resident_exists = self.kueue_up = True
        self.number, self.version = 1, 1
        self.workload: CheckedWorkload | None = workload()
        self.pods: dict[str, TrainingPod] = {}
        self.allocated: dict[str, int] = {}
        """MiB that the processes of pods use, also after the pod is gone from the API."""
        self.runs = False
        """True while the Job is not suspended."""
        self.pin: tuple[str, int, str] = ("", 0, "")
        """GPU, fence and UID in the labels of the Job's template."""
        self.stopped_at: datetime | None = None
        self.evicted_at: datetime | None = None
        self.lease = builders.lease(None, fence=0, acquired=None)
        self.successor = ""
        self.forget()

    def forget(self) -> None:
        """Drop what the operator knows in memory only, as a restart does; another process may have begun the turn."""
        self.state = TurnState(self.lease, monotonic=lambda: self.now.timestamp())
        if self.lease.owner is not None:
            self.state.unanswered_creation = self.now.timestamp()

    def change(self, **fields: Any) -> None:
        """Change the Workload, as any client does."""
        if self.workload is not None:
            self.version += 1
            self.workload = replace(self.workload, resource_version=str(self.version), **fields)

    def dispatch_if_free(self) -> None:
        """Give the Lease of the idle GPU to the Workload, as the scheduler does."""
        lease, one = self.lease, self.workload
        if one is None or not one.waits or lease.holder != HOLDER_RESIDENT or lease.reload_pending:
            return
        now = timestamp(self.now)
        self.lease = replace(lease, holder=one.key.holder, fence=lease.fence + 1, acquired=now, unused_since=now)
        self.state = TurnState(self.lease, monotonic=lambda: self.now.timestamp())

    def used(self) -> int:
        """Return the MiB in use on the GPU."""
        return (MODEL_MIB if self.loaded else 0) + self.foreign + sum(self.allocated.values())

    def live(self) -> list[TrainingPod]:
        """Return the live pods."""
        return [pod for pod in self.pods.values() if pod.live]

    def view(self) -> TurnView:
        """Observe, take a sample of free memory, and return what the plan sees."""
        seen = None
        if self.resident_exists:
            reported = builders.report(loaded=self.loaded, used=self.used(), hold=self.hold, need_mib=MODEL_MIB)
            seen = builders.resident(reported if self.reachable else None)
        self.state.note_pods(self.pods.values())
        report = seen.report if seen is not None else None
        if report is not None:
            at = self.now.timestamp()
            self.state.reported_at = at
            self.state.take_sample(report, at, keep=POLICY.samples, apart=0.1)
        else:
            self.state.forget_samples()
        owner = self.lease.owner
        known = self.workload if self.workload is not None and owner == self.workload.key else None
        view = TurnView(
            now=self.now, policy=POLICY, lease=self.lease, resident=seen, job=None, workload=known,
            pods=tuple(self.pods.values()), samples=tuple(self.state.samples), host="node-1", successor=self.successor,
            failure=self.state.failure, load_failed=self.state.load_failed,
            pod_may_appear=self.state.pod_may_appear(POLICY.request_timeout),
        )  # fmt: skip
        follower = WorkloadFollower(cast("Any", None), cast("Any", None), POLICY)
        return follower.completed(view, self.state) if view.is_workloads else view

    def reconcile(self, *, crashes: bool = False) -> None:
        """Decide and apply; a crash after the decision loses the action."""
        self.now += timedelta(seconds=1)
        view = self.view()
        decision = turn.plan(view)
        if crashes:
            self.forget()
            return
        self.note(view, decision)
        self.take(view, decision)

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

    def take(self, view: TurnView, decision: Decision) -> None:
        """Check an action against the laws, and apply it."""
        match decision.action:
            case Unload():
                assert self.lease.owner is not None, "law 5: the Lease comes before the unload"
                if self.reachable and self.resident_exists:
                    self.loaded, self.hold = False, Hold(self.lease.holder, self.lease.fence, 60.0)
            case MarkReady() | WithdrawReady() | EvictWorkload():
                self.answer(view, decision.action)
            case DeletePod(pod):
                self.pods[pod.name] = replace(pod, deleting=True, delete_by=timestamp(self.now))
            case ReturnLease(pending, _, _, unused_since):
                self.return_lease(view, unused_since, pending=pending)
            case Load():
                self.load()
            case SettleReload():
                assert self.loaded, "law 3: a pending reload is settled by a load"
                self.lease = replace(self.lease, reload_pending="", unused_since=None)

    def answer(self, view: TurnView, action: CheckAction) -> None:
        """Write a state of the check."""
        judged = action.workload
        assert judged.entry is not None
        if not isinstance(action, MarkReady):
            state = "Retry" if isinstance(action, EvictWorkload) else PENDING
            self.write(judged, replace(judged.entry, state=state))
            return
        self.expect_proof(view, action.proven_mib)
        entry = CheckEntry("gpu-relay", READY, "", self.lease.gpu, self.lease.fence, action.proven_mib)
        if self.write(judged, entry):
            self.state.unanswered_creation = self.now.timestamp()
            self.state.remembered_proof = action.proven_mib
        self.state.forget_samples()

    def return_lease(self, view: TurnView, unused_since: str | None, *, pending: bool) -> None:
        """Give the GPU back to the resident."""
        self.expect_no_pod(view)
        self.lease = replace(
            self.lease, holder=HOLDER_RESIDENT, reload_pending=self.lease.holder if pending else "",
            acquired=timestamp(self.now), unused_since=unused_since,
        )  # fmt: skip
        self.state = TurnState(self.lease, monotonic=lambda: self.now.timestamp())

    def expect_proof(self, view: TurnView, proven: int) -> None:
        """Check laws 1, 2 and 5: Ready comes after the Lease, and after enough samples under this turn's hold."""
        assert view.workload is not None and self.lease.holder == view.workload.key.holder, "law 5: the Lease is first"
        assert not self.live(), "law 2: no pod of a former turn is live"
        samples = self.state.samples
        assert len(samples) >= POLICY.samples, "law 1: several samples"
        assert min(samples[-POLICY.samples :]) >= NEED + POLICY.margin_mib, "law 1: each sample is enough"
        assert proven >= NEED, "law 1: the pin records the measured memory"
        held = self.hold is not None and self.hold.fence == self.lease.fence and not self.loaded
        assert held, "law 1: the resident is held for this turn"

    def expect_no_pod(self, view: TurnView) -> None:
        """Check law 2: the Lease is returned when the pods are gone, and the memory is measured free or overdue."""
        assert not self.live(), "law 2: the Lease is returned after the pods have ended"
        one = self.workload
        ready = one is not None and one.entry is not None and one.entry.state == READY
        mine = ready and one is not None and self.lease.holder == one.key.holder and not one.finished
        assert not mine or view.podless_for > POLICY.max_idle_outage, "law 1: no Ready outlives its turn"
        overdue = view.podless_for >= POLICY.memory_return_timeout
        assert overdue or view.report is not None, "law 10: what is not measured is not free"
        assert overdue or not any(self.allocated.values()), "law 2: the memory is measured free"

    def load(self) -> None:
        """Check laws 2 and 5, and load the resident, where the memory is free."""
        assert self.lease.holder == HOLDER_RESIDENT, "law 5: the Lease is returned before the load"
        assert not self.live(), "law 2: no load beside a live pod"
        self.hold = None
        if self.loaded or self.used() + MODEL_MIB <= FREE_MIB:
            self.loaded, self.state.load_failed, self.state.failure = True, False, ""
        else:
            self.state.load_failed, self.state.failure = True, "503: not enough free memory"

    def is_overdue(self) -> bool:
        """Return whether Kueue has not suspended an evicted Job for as long as an outage without a pod may last."""
        return self.evicted_at is not None and (self.now - self.evicted_at).total_seconds() > 100

    def create_pod(self) -> None:
        """Create the Job's pod with the labels of its template, as the Job controller does."""
        gpu, fence, uid = self.pin
        name = f"job-{len(self.pods)}-{self.version}-{int(self.now.timestamp())}"
        pod = builders.pod(name=name, uid=name, job_uid="", gpu=gpu, fence=fence, created=timestamp(self.now))
        self.pods[name] = replace(pod, workload_uid=uid, proven_mib=None)
