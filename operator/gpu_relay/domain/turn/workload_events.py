"""The Events of a Workload's turn, which `kubectl describe` shows on the object that the Workload represents.

They follow from what was observed and decided, so a repeated reconcile gives the same Events; each is written once for
each turn and reason. The message of the check has the rest: Kueue publishes it on the same object.
"""

from dataclasses import dataclass

from gpu_relay.api import words
from gpu_relay.api.words import ANNOTATION_NEXT_JOB, ANNOTATION_OUTCOME, ANNOTATION_WORKLOAD, LABEL_WORKLOAD_UID, Reason
from gpu_relay.domain.decision import (
    Decision,
    EventRecord,
    EvictWorkload,
    HandOver,
    Load,
    MarkReady,
    ReturnLease,
    SettleReload,
)
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.quantities import mib
from gpu_relay.domain.turn.acquisition import leased
from gpu_relay.domain.turn.handback import handover_condition
from gpu_relay.domain.turn.workload_turn import stop_reason
from gpu_relay.domain.turn_view import TurnView


@dataclass(frozen=True)
class WorkloadSubject:
    """What an Event of a Workload's turn is about."""

    key: JobKey
    represents: Represented | None
    """None if it represents no object, or if that is unknown: then the Event is on the Workload."""
    resource_version: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """Return the annotations that name the Workload."""
        return {ANNOTATION_WORKLOAD: self.key.name, LABEL_WORKLOAD_UID: self.key.uid}


def subject_of(view: TurnView, known: Represented | None) -> WorkloadSubject | None:
    """Return the Workload of a turn, or of a pending reload; None if it is a job's.

    `known` is the object that the Workload represents, as it was last read in this turn.
    """
    key = view.lease.owner or JobKey.from_holder(view.lease.reload_pending)
    if key is None or not key.is_workload:
        return None
    return WorkloadSubject(key, view.workload.represents if view.workload else known)


def events_of(view: TurnView, decision: Decision) -> tuple[EventRecord, ...]:
    """Return the Events of what was decided for a Workload's turn, or for the reload after it."""
    if not view.is_workloads:
        return _after_turn(view, decision)
    begins = view.workload is not None and not (view.is_ready or view.live_pods or stop_reason(view))
    first = (leased(view.lease), *decision.events) if begins else decision.events
    match decision.action:
        case MarkReady(message=message):
            return (*first, EventRecord(Reason.MEMORY_PROVEN, message))
        case EvictWorkload():
            return (*first, eviction(decision.action))
        case ReturnLease():
            return (*first, _returned(view, decision.note))
    return (*first, *_exceeded(view))


def eviction(step: EvictWorkload) -> EventRecord:
    """Return the Event of an eviction."""
    return EventRecord(step.reason, f"has Kueue evict it: {step.message}", warning=step.pauses)


def _exceeded(view: TurnView) -> tuple[EventRecord, ...]:
    """Return a warning if more memory is in use than the pods requested; nothing limits what a program takes."""
    workload, report, proven = view.workload, view.report, view.proven_mib
    running = [pod.name for pod in view.live_pods if pod.workload_uid == view.owner_uid and pod.waiting is None]
    if workload is None or report is None or report.model_loaded or proven is None or not running:
        return ()
    used = proven - report.free_mib
    if used <= workload.need_mib + view.policy.margin_mib:
        return ()
    message = (
        f"{mib(used)} of GPU {view.lease.gpu} are in use since {', '.join(running)} began, "
        f"{mib(workload.need_mib)} were requested ({words.ANNOTATION_GPU_MEMORY}): request more, or find the process "
        f"with nvidia-smi on node {view.lease.node}"
    )
    return (EventRecord(Reason.MEMORY_EXCEEDED, message, warning=True),)


def _returned(view: TurnView, note: str) -> EventRecord:
    stop = stop_reason(view)
    why = stop or note or "its turn ended without use"
    facts = {ANNOTATION_OUTCOME: _outcome(view)} if stop else {}
    message = f"GPU {view.lease.gpu} on node {view.lease.node} returned: {why}"
    return EventRecord(Reason.GPU_RETURNED, message, warning=not stop, facts=facts)


def _outcome(view: TurnView) -> str:
    """Return how the turn of a Workload that had to stop ended, in one word."""
    workload = view.workload
    if workload is None or workload.deleting:
        return "Deleted"
    if workload.finished:
        return "Finished"
    return "Evicted" if workload.evicted or view.has_ended else "Stopped"


def _after_turn(view: TurnView, decision: Decision) -> tuple[EventRecord, ...]:
    """Return the Event of what becomes of the reload after a Workload's turn."""
    report = view.report
    match decision.action:
        case SettleReload() if report is not None:
            message = f"{view.resident} is loaded again: {mib(report.used_mib)} used, {mib(report.free_mib)} free"
            return (EventRecord(Reason.RESIDENT_LOADED, message),)
        case HandOver():
            _, reason, message = handover_condition(view)
            return (EventRecord(Reason(reason), message, facts={ANNOTATION_NEXT_JOB: view.successor}),)
        case Load() if view.load_failed:
            message = f"{view.resident}: {view.failure}; tries again"
            return (EventRecord(Reason.RESIDENT_LOAD_FAILED, message, warning=True),)
    return ()
