"""The plan of a Workload's turn: Kueue creates its pods after the operator's check is Ready, and stops them.

The Lease comes before the unload, the proof before Ready, and the end of all its pods before the return of the Lease.
Each GPU of a Workload has a turn of its own; the turn that is last to prove its memory sets the check to Ready for all.
Kueue's conditions say when to stop; they prove neither that a pod has ended nor that no further one is created. So the
pods of a turn select their node by a label, which is removed before the Lease is returned.
"""

from collections.abc import Sequence
from datetime import timedelta

from gpu_relay.api import words
from gpu_relay.api.words import Reason
from gpu_relay.domain.decision import (
    Decision,
    DeletePod,
    EvictWorkload,
    KeepProof,
    MarkReady,
    Pin,
    RemovePin,
    Rule,
    Unload,
    WithdrawReady,
)
from gpu_relay.domain.objects.checked_workload import PENDING, READY, CheckedWorkload
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.outage import is_exhausted
from gpu_relay.domain.quantities import mib, parse_time, timestamp
from gpu_relay.domain.queue.node_packing import pack
from gpu_relay.domain.training_windows import has_closed
from gpu_relay.domain.turn import acquisition
from gpu_relay.domain.turn.handback import POD_POLL
from gpu_relay.domain.turn.lease_return import RETURN_POLL, memory_is_back, return_lease
from gpu_relay.domain.turn_view import ProvenGpu, TurnView

OVERSTAY = 30.0
"""Seconds in which Kueue and the controller of a stopped Workload must end its pods; then the operator does."""
PIN_SETTLES = 2.0
"""Seconds after which the scheduler and the kubelet know that a node has lost a label."""
_EVICTION = 5.0
"""Seconds that the eviction of a Workload without a pod may take; then its GPU goes back: Kueue may be down."""
_LABEL_LOST = 15.0
"""Seconds for which a pod is on no node before the label of the node, which is read rarely, counts as lost."""
ALL_LEASES = 15.0
"""Seconds in which a process that begins a turn with several GPUs has taken all of their Leases."""
_POLL = 1.0
_UNSTARTED, _YIELDS = Reason.POD_NOT_STARTED, Reason.YIELDING_TO_RESIDENT


def stop_reason(view: TurnView) -> str:
    """Return why a Workload has no right to its turn; empty while it has."""
    workload = view.workload
    if workload is None:
        return "it is gone"
    if workload.stop:
        return workload.stop
    if workload.entry is None:
        return "" if view.live_pods else "its admission check was removed"
    if workload.entry.state not in {PENDING, READY}:
        return f"its admission check is {workload.entry.state}"
    return "Kueue has evicted it, and queued it again" if view.has_ended else ""


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
    if _awaits_memory(view):
        return Decision.requeue(max(RETURN_POLL, view.policy.sample_interval))
    unused = timestamp(view.now - timedelta(seconds=view.podless_for)) if view.had_pod else None
    return Decision.act(return_lease(view, unused), requeue_after=0)


def _awaits_memory(view: TurnView) -> bool:
    """True while the memory of the last pod may still be measured as free."""
    return not memory_is_back(view) and view.podless_for < view.policy.memory_return_timeout


def _while_pods_end(view: TurnView) -> Decision:
    """Keep the resident unloaded while the pods of a stopped Workload end; stop those that do not."""
    if view.hold_is_due:
        return Decision.act(Unload(), requeue_after=POD_POLL)
    overdue = next((pod for pod in view.live_pods if not pod.deleting), None)
    if overdue is not None and view.stopped_for > OVERSTAY:
        return Decision.act(DeletePod(overdue), requeue_after=POD_POLL)
    return Decision.act(RemovePin(view.lease.node) if view.is_pinned else None, requeue_after=POD_POLL)


def pods_may_appear(view: TurnView) -> Decision | None:
    """Remove the label of a turn from its node before the Lease is returned, and wait until that has an effect.

    The controller of a Workload may create a pod long after Kueue has suspended it, or while Kueue is down. If the API
    server refuses the removal, the resident gets its GPU nevertheless (law 9).
    """
    finished = view.workload is not None and view.workload.finished
    if view.is_pinned and view.podless_for > view.policy.max_idle_outage + view.policy.request_timeout:
        return None
    if view.is_pinned:
        return Decision.act(RemovePin(view.lease.node), requeue_after=0 if finished and not view.failure else _POLL)
    return Decision.requeue(PIN_SETTLES) if view.pod_may_appear and not finished else None


def workload_runs(view: TurnView) -> Decision | None:
    """Renew the hold while the check is Ready for this turn, and have Kueue evict a Workload for a cause."""
    workload = view.workload
    if workload is None or not (view.is_ready or workload.entry is None):
        return None
    if not view.live_pods and view.podless_for > view.policy.max_idle_outage + _EVICTION:
        return Decision.act(return_lease(view), requeue_after=0)
    stop = _cause(view, workload) if workload.entry is not None else None
    if stop is not None:
        return Decision.act(stop, requeue_after=_POLL)
    renewal = Unload() if view.hold_is_due else None
    return Decision.act(renewal, requeue_after=view.policy.progress_interval)


def _cause(view: TurnView, workload: CheckedWorkload) -> EvictWorkload | None:
    """Return why Kueue must evict a Workload whose check is Ready; None if it may continue."""
    if not view.live_pods:
        return _has_no_pod(view, workload)
    if _has_lost_label(view):
        message = f"node {view.lease.node} has lost its label {words.LABEL_PIN}, by which its pods find it"
        return EvictWorkload(workload, message, _UNSTARTED, pauses=True)
    late = next((pod for pod in view.live_pods if _is_late(view, pod, view.policy.pod_start_timeout)), None)
    if late is not None:
        return EvictWorkload(workload, f"pod {late.name} did not start: {late.waiting}", _UNSTARTED, pauses=True)
    return _yields(view, workload)


def _has_no_pod(view: TurnView, workload: CheckedWorkload) -> EvictWorkload | None:
    if view.podless_for > view.policy.max_idle_outage:
        return EvictWorkload(workload, f"no pod of it has run for {view.podless_for:.0f} s", _UNSTARTED, pauses=True)
    if view.resident is None:  # its controller would start a pod on memory that is unknown
        message = f"no resident reports GPU {view.lease.gpu} on node {view.lease.node} any more"
        return EvictWorkload(workload, message, Reason.RESIDENT_MISSING, pauses=True)
    return None


def _yields(view: TurnView, workload: CheckedWorkload) -> EvictWorkload | None:
    """Return why a Workload whose pods run gives way; None if it may continue."""
    if workload.yields and view.resident is not None and has_closed(view.resident, view.now):
        return EvictWorkload(workload, f"the training window of resident {view.resident} has ended", _YIELDS)
    if not _is_wanted(view):
        return None
    if workload.yields and is_exhausted(view.lease, view.clocks, view.now):
        return EvictWorkload(workload, "the resident was unloaded for its maximum outage", _YIELDS)
    began, limit = view.lease.acquired, workload.max_outage
    if began is not None and limit is not None and view.now >= parse_time(began) + limit:
        return EvictWorkload(workload, "its turn has lasted for its maximum outage", _YIELDS)
    return None


def _is_late(view: TurnView, pod: TrainingPod, limit: float) -> bool:
    """True for a pod that has not started in this many seconds."""
    if pod.waiting is None or pod.deleting:
        return False
    return (view.now - parse_time(pod.created)).total_seconds() > limit


def _has_lost_label(view: TurnView) -> bool:
    """True if a pod cannot be placed because somebody has removed the label of its node, or replaced the node."""
    entry = view.workload.entry if view.workload is not None else None
    if entry is None or not entry.node_labels or view.node_label is None or view.node_label in entry.node_labels:
        return False
    return any(not pod.node and _is_late(view, pod, _LABEL_LOST) for pod in view.live_pods)


def _is_wanted(view: TurnView) -> bool:
    """True if another waits for the GPU: the resident has refused requests, or a job or Workload is queued."""
    return bool(view.successor) or (view.report is not None and view.report.refused > 0)


def gpus_are_missing(view: TurnView) -> Decision | None:
    """End a turn that lacks some of a Workload's GPUs: a process crashed between two Leases, or one was deleted."""
    workload = view.workload
    if workload is None or view.owned_gpus >= workload.demand.total_gpus or (view.live_pods and not view.is_ready):
        return None
    message = f"has {view.owned_gpus} of its {workload.demand.total_gpus} GPUs"
    if view.is_ready:
        return Decision.act(EvictWorkload(workload, message, pauses=True), requeue_after=_POLL)
    began = view.lease.acquired
    if began is not None and (view.now - parse_time(began)).total_seconds() < ALL_LEASES:
        return Decision(note=message, requeue_after=_POLL)
    if _awaits_memory(view):
        return Decision.requeue(max(RETURN_POLL, view.policy.sample_interval))
    return Decision(action=return_lease(view), note=f"has lost its GPU: {message}", requeue_after=0)


def mark_ready(view: TurnView) -> Decision | None:
    """Set the check to Ready, and pin the pods to the nodes and GPUs whose memory is proven free (law 1)."""
    workload, report, proven = view.workload, view.report, view.proven_free
    assert workload is not None and report is not None and proven is not None
    if not view.host:
        message = f"node {view.lease.node} cannot be read, or has no label kubernetes.io/hostname; tries again"
        return Decision(note=message, requeue_after=_POLL)
    own = ProvenGpu(view.lease.gpu, view.lease.fence, report.uuid, view.lease.node, view.host, proven)
    gpus = sorted((own, *view.proven_others), key=lambda each: each.gpu)
    if len(gpus) < workload.demand.total_gpus:
        return Decision.act(KeepProof(own), requeue_after=_POLL)
    pins = _pins(workload, gpus)
    if pins is None:  # a Lease has another node than when the GPUs were chosen
        return Decision(action=return_lease(view), note="has lost its GPU: its nodes have changed", requeue_after=0)
    free = ", ".join(f"GPU {each.uuid} of node {each.node}: {mib(each.free_mib)}" for each in gpus)
    message = f"{free} measured, {mib(workload.need_mib)} needed"
    return Decision.act(MarkReady(workload, message, pins), requeue_after=_POLL)


def _pins(workload: CheckedWorkload, gpus: Sequence[ProvenGpu]) -> tuple[Pin, ...] | None:
    """Return the nodes and GPUs of each pod set; None if the pod sets do not fill these nodes."""
    nodes: dict[str, list[ProvenGpu]] = {}
    for each in gpus:
        nodes.setdefault(each.node, []).append(each)
    packed = pack(workload.demand.pod_sets, {node: len(found) for node, found in sorted(nodes.items())})
    if packed is None:
        return None
    pins = []
    for index, names in sorted(packed.items()):
        size = workload.demand.pod_sets[index].total // len(names)
        taken = [nodes[name].pop(0) for name in names for _ in range(size)]
        pins.append(Pin(workload.pod_sets[index].name, tuple(taken)))
    return tuple(pins)


RULES: tuple[Rule, ...] = (
    ready_is_stale, workload_has_stopped, gpus_are_missing, workload_runs, *acquisition.PROOF, mark_ready,
)  # fmt: skip
