"""Admission by Kueue: a job whose label names a LocalQueue waits until Kueue has admitted it.

A Workload represents the job in Kueue's queue and requests what its training pod will request::

    job ──► Workload ──► Kueue: Admitted ──► prepared, queued, trained ──► Workload: Finished
               ▲              │ Evicted: the training stops at a checkpoint
               └── quota returned: Kueue may admit it again

The state of the admission is in the Workload alone, so the operator can crash after any step (law 4).
"""

from dataclasses import dataclass, replace
from datetime import datetime

from gpu_relay.api.words import TERMINAL_PHASES, ConditionType, Phase, Reason
from gpu_relay.domain.decision import EventRecord, GenericDecision
from gpu_relay.domain.job import status
from gpu_relay.domain.kueue.workload import (
    AdmissionAction,
    AdoptWorkload,
    AskForQuota,
    ChangeRequest,
    FinishWorkload,
    ReturnQuota,
    SayPodsReady,
    WithdrawRequest,
    Workload,
)
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import parse_time

_IN_A_TURN = frozenset({Phase.ACQUIRING, Phase.TRAINING, Phase.RELEASING})
_SILENCE = 5.0
"""Seconds after which a condition reports that Kueue has not processed the Workload."""
_POLL = 1.0
_ABSENT_POLL = 30.0
_SILENT = "Kueue has not processed it yet: does its controller run?"


@dataclass(frozen=True)
class AdmissionView:
    """Everything that a decision about one job's admission depends on."""

    now: datetime
    job: Job
    workload: Workload | None
    request: str
    """A hash of what the job requests now."""
    absence: str = ""
    """Why Kueue is not available; empty if it is."""


Decision = GenericDecision[AdmissionAction]


def admits(job: Job, workload: Workload | None) -> bool:
    """True for a job that may continue: Kueue has admitted it, or does not manage it."""
    return not job.local_queue or (workload is not None and workload.admitted)


def withdrawal(job: Job, workload: Workload | None) -> str:
    """Return why a job must not continue its turn; empty if it may."""
    if admits(job, workload):
        return ""
    reason = "its Workload was deleted" if workload is None else workload.reason
    return f"{_queue(job)} has withdrawn the quota: {reason or 'the workload is not admitted'}"


def plan(view: AdmissionView) -> Decision:
    """Decide the next step of one job whose label names a LocalQueue, or that has a Workload."""
    job, workload = view.job, view.workload
    if job.deleting:
        return Decision.wait()  # its Workload goes with it
    if job.status.phase in TERMINAL_PHASES:
        return _finish(view, workload)
    if job.status.phase in _IN_A_TURN:
        return _follow_turn(view, workload)
    if job.prebuilt_workload and job.local_queue and not view.absence:
        return _follow_prebuilt(view, workload)
    if not job.local_queue or job.spec.suspend:
        return _withdraw(workload)
    if view.absence:
        return _without_kueue(view)
    if workload is None:
        return Decision.act(AskForQuota(), requeue_after=_SILENCE)
    return _follow_request(view, workload)


def plan_delegated(view: AdmissionView) -> Decision:
    """Decide the next step of one job that MultiKueue runs in another cluster, and whose status it copies from there.

    The operator creates the Workload, and says why the job waits until quota is reserved.
    """
    job, workload = view.job, view.workload
    if job.deleting or job.status.phase in TERMINAL_PHASES or not job.local_queue:
        return Decision.wait()
    if job.spec.suspend:
        return replace(_withdraw(workload), status=status.suspended(job, view.now) if workload is None else None)
    if view.absence:
        return _without_kueue(view)
    if workload is None:
        return Decision.act(AskForQuota(), requeue_after=_SILENCE)
    if workload.holds("Finished"):
        return Decision.wait()  # the job's status follows
    if workload.reserved and not workload.holds("Evicted") and workload.priority == job.spec.priority:
        return Decision(events=_admitted(job) if workload.admitted else ())
    return _follow_request(view, workload)


def _withdraw(workload: Workload | None) -> Decision:
    return Decision.act(WithdrawRequest(workload) if workload is not None and not workload.deleting else None)


def _without_kueue(view: AdmissionView) -> Decision:
    message = f"the label names {_queue(view.job)}, but {view.absence}"
    return _wait(view, Reason.KUEUE_MISSING, message, requeue_after=_ABSENT_POLL)


def _finish(view: AdmissionView, workload: Workload | None) -> Decision:
    """Finish the Workload of a finished job, which returns its quota."""
    if workload is None or workload.holds("Finished"):
        return Decision.wait()
    kind = ConditionType.COMPLETE if view.job.status.phase == Phase.SUCCEEDED else ConditionType.FAILED
    message = next((each.message for each in view.job.status.conditions if each.type == kind), "")
    return Decision.act(FinishWorkload(workload, str(view.job.status.phase), message))


def _follow_turn(view: AdmissionView, workload: Workload | None) -> Decision:
    """Report to Kueue that the training runs: if it waits for ready pods, it would evict the job."""
    job = view.job
    if workload is None or not workload.admitted:
        return Decision.wait()
    if workload.priority != job.spec.priority and not job.prebuilt_workload:
        return Decision.act(ChangeRequest(workload, workload.queue, job.spec.priority))
    runs = any(each.reason == Reason.TRAINING_RUNNING for each in job.status.conditions)
    return Decision.act(SayPodsReady(workload) if runs and not workload.holds("PodsReady") else None)


def _follow_prebuilt(view: AdmissionView, workload: Workload | None) -> Decision:
    """Follow a Workload that the MultiKueue of another cluster has created: only that one changes or deletes it."""
    name, age = view.job.prebuilt_workload, (view.now - parse_time(view.job.created)).total_seconds()
    if workload is not None and workload.name == name:
        return _follow_admission(view, workload)
    message = f"{_queue(view.job)}: Workload {name}, which a label names, does not exist, or has another owner"
    waiting = _wait(view, Reason.WAITING_FOR_KUEUE, message) if age > _SILENCE else Decision()
    return replace(waiting, action=AdoptWorkload(), requeue_after=_SILENCE)


def _follow_request(view: AdmissionView, workload: Workload) -> Decision:
    job = view.job
    if workload.deleting:
        return Decision.requeue(_POLL)
    moved = workload.queue != job.local_queue
    if workload.holds("Finished") or workload.request != view.request or (moved and workload.reserved):
        return Decision.act(WithdrawRequest(workload), requeue_after=_POLL)
    if moved or workload.priority != job.spec.priority:
        return Decision.act(ChangeRequest(workload, job.local_queue, job.spec.priority))
    return _follow_admission(view, workload)


def _follow_admission(view: AdmissionView, workload: Workload) -> Decision:
    """Give quota back after an eviction, and report what Kueue waits for."""
    job = view.job
    if workload.holds("Evicted") and workload.reserved:
        waiting = _wait(view, Reason.WAITING_FOR_KUEUE, f"{_queue(job)}: {workload.reason}")
        return Decision(action=ReturnQuota(workload), status=waiting.status, events=waiting.events)
    if workload.admitted:
        return Decision(events=_admitted(job))
    silent = not workload.reason
    if silent and (view.now - parse_time(workload.created)).total_seconds() < _SILENCE:
        return Decision.requeue(_SILENCE)
    return _wait(view, Reason.WAITING_FOR_KUEUE, f"{_queue(job)}: {workload.reason or _SILENT}")


def _wait(view: AdmissionView, reason: Reason, message: str, requeue_after: float | None = None) -> Decision:
    new = status.awaiting_admission(view.job, view.now, reason, message)
    event = EventRecord(reason, message, warning=reason == Reason.KUEUE_MISSING)
    return Decision(status=new, events=(event,), requeue_after=requeue_after)


def _admitted(job: Job) -> tuple[EventRecord, ...]:
    """Return the Event of the admission, until the job has continued with its next step."""
    reason = next((each.reason for each in job.status.conditions if each.type == ConditionType.RECONCILING), None)
    if reason not in {None, Reason.WAITING_FOR_KUEUE, Reason.QUOTA_WITHDRAWN}:
        return ()
    return (EventRecord(Reason.ADMITTED, f"{_queue(job)} has admitted the job"),)


def _queue(job: Job) -> str:
    return f"Kueue's LocalQueue {job.key.namespace}/{job.local_queue}"
