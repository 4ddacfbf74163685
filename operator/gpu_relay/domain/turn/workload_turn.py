"""The plan of a Workload's turn: Kueue creates its pods after the operator's check is Ready, and stops them.

The Lease comes before the unload, the proof before Ready, and the end of all its pods before the return of the Lease.
Kueue's conditions say when to stop; they never prove that a pod has ended.
"""

from datetime import timedelta

from gpu_relay.domain.decision import Decision, DeletePod, EvictWorkload, MarkReady, Rule, Unload, WithdrawReady
from gpu_relay.domain.objects.checked_workload import PENDING, READY, CheckedWorkload
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.outage import is_exhausted
from gpu_relay.domain.quantities import mib, parse_time, timestamp
from gpu_relay.domain.turn import acquisition
from gpu_relay.domain.turn.handback import POD_POLL
from gpu_relay.domain.turn.lease_return import RETURN_POLL, memory_is_back, return_lease
from gpu_relay.domain.turn_view import TurnView

OVERSTAY = 30.0
"""Seconds in which the controller of a stopped Workload must begin to end its pods; then the operator does."""
_POLL = 1.0


def stop_reason(view: TurnView) -> str:
    """Return why a Workload has no right to its turn; empty while it has."""
    workload = view.workload
    if workload is None:
        return "it is gone"
    if workload.stop:
        return workload.stop
    if workload.entry is None:
        return "" if view.live_pods else "its admission check was removed"
    state = workload.entry.state
    return "" if state in {PENDING, READY} else f"its admission check is {state}"


def ready_is_stale(view: TurnView) -> Decision | None:
    """Set the check back to Pending if it is Ready without a right to this turn: Kueue would start pods."""
    workload = view.workload
    if workload is None or workload.entry is None or workload.entry.state != READY:
        return None
    if workload.finished or workload.deleting or (view.is_ready and not stop_reason(view)):
        return None
    if view.live_pods and view.hold_is_due:
        return Decision.act(Unload(), requeue_after=0)
    if view.podless_for > view.policy.max_idle_outage:
        return None  # the write fails repeatedly; the resident gets its GPU nevertheless (law 9)
    if workload.admitted and not workload.stop:
        return Decision.act(EvictWorkload(workload, "its GPU is not the one of its turn"), requeue_after=_POLL)
    return Decision.act(WithdrawReady(workload), requeue_after=0)


def workload_has_stopped(view: TurnView) -> Decision | None:
    """Return the Lease of a Workload that must stop, when its pods are gone and the memory is measured free."""
    if not stop_reason(view):
        return None
    if view.live_pods:
        return _while_pods_end(view)
    if view.pod_may_appear and view.podless_for <= view.policy.max_idle_outage:
        return Decision.requeue(POD_POLL)
    if not memory_is_back(view) and view.podless_for < view.policy.memory_return_timeout:
        return Decision.requeue(max(RETURN_POLL, view.policy.sample_interval))
    unused = timestamp(view.now - timedelta(seconds=view.podless_for)) if view.had_pod else None
    return Decision.act(return_lease(view, unused), requeue_after=0)


def _while_pods_end(view: TurnView) -> Decision:
    """Keep the resident unloaded while the pods of a stopped Workload end; stop those that do not."""
    if view.hold_is_due:
        return Decision.act(Unload(), requeue_after=POD_POLL)
    overdue = next((pod for pod in view.live_pods if not pod.deleting), None)
    late = overdue is not None and view.stopped_for > OVERSTAY
    return Decision.act(DeletePod(overdue) if late and overdue else None, requeue_after=POD_POLL)


def workload_runs(view: TurnView) -> Decision | None:
    """Renew the hold while the check is Ready for this turn, and have Kueue evict a Workload for a cause."""
    workload = view.workload
    if workload is None or not (view.is_ready or workload.entry is None):
        return None
    stop = _cause(view, workload) if workload.entry is not None else None
    if stop is not None:
        return Decision.act(stop, requeue_after=_POLL)
    renewal = Unload() if view.hold_is_due else None
    return Decision.act(renewal, requeue_after=view.policy.progress_interval)


def _cause(view: TurnView, workload: CheckedWorkload) -> EvictWorkload | None:
    """Return why Kueue must evict a Workload whose check is Ready; None if it may continue."""
    if not view.live_pods and view.podless_for > view.policy.max_idle_outage:
        return EvictWorkload(workload, f"no pod of it has run for {view.podless_for:.0f} s", pauses=True)
    if not view.live_pods and view.resident is None:  # its controller would start a pod on memory that is unknown
        message = f"no resident reports GPU {view.lease.gpu} on node {view.lease.node} any more"
        return EvictWorkload(workload, message, pauses=True)
    late = next((pod for pod in view.live_pods if _is_late(view, pod)), None)
    if late is not None:
        return EvictWorkload(workload, f"pod {late.name} did not start: {late.waiting}", pauses=True)
    if not view.live_pods or not _is_wanted(view):
        return None
    if workload.yields and is_exhausted(view.lease, view.clocks, view.now):
        return EvictWorkload(workload, "the resident was unloaded for its maximum outage")
    began, limit = view.lease.acquired, workload.max_outage
    if began is not None and limit is not None and view.now >= parse_time(began) + limit:
        return EvictWorkload(workload, "its turn has lasted for its maximum outage")
    return None


def _is_late(view: TurnView, pod: TrainingPod) -> bool:
    """True for a pod that has not started in time."""
    if pod.waiting is None or pod.deleting:
        return False
    return (view.now - parse_time(pod.created)).total_seconds() > view.policy.pod_start_timeout


def _is_wanted(view: TurnView) -> bool:
    """True if another waits for the GPU: the resident has refused requests, or a job or Workload is queued."""
    return bool(view.successor) or (view.report is not None and view.report.refused > 0)


def mark_ready(view: TurnView) -> Decision | None:
    """Set the check to Ready, and pin the pod to the node and the GPU whose memory is proven free (law 1)."""
    workload, report, proven = view.workload, view.report, view.proven_free
    assert workload is not None and report is not None and proven is not None
    if not view.host:
        message = f"node {view.lease.node} cannot be read, or has no label kubernetes.io/hostname; tries again"
        return Decision(note=message, requeue_after=_POLL)
    free = (
        f"GPU {report.uuid} of node {view.lease.node} is free: {mib(proven)} measured, {mib(workload.need_mib)} needed"
    )
    return Decision.act(MarkReady(workload, free, view.host, report.uuid, proven), requeue_after=_POLL)


RULES: tuple[Rule, ...] = (ready_is_stale, workload_has_stopped, workload_runs, *acquisition.PROOF, mark_ready)
