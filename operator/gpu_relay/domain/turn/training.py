"""A live training pod: its progress, what it waits for, and what its disappearance means."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt, Progress, Results, YoloTrainingJobStatus
from gpu_relay.api.words import COST_FREE_REASONS, ConditionType, Reason
from gpu_relay.domain.decision import EventRecord
from gpu_relay.domain.job import metrics_curve, pod_failures, status, stop_reasons
from gpu_relay.domain.job.stop_reasons import Stop
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.quantities import mib, parse_time, timestamp
from gpu_relay.domain.turn_view import TurnView
from gpu_relay.domain.untrusted import numbers, seconds

_ETA_TOLERANCE = timedelta(seconds=30)
_VERBS: Mapping[str | None, str] = MappingProxyType(
    {None: "trains", "Train": "trains", "Validate": "validates", "Export": "exports"}
)
"""The verb for what a training pod does, by `spec.mode`."""


def followed(
    view: TurnView, job: Job, pod: TrainingPod, stop: Stop | None
) -> tuple[YoloTrainingJobStatus, tuple[EventRecord, ...]]:
    """Return the status and the Events of a job whose pod is live; `stop` is why the operator stops it."""
    stopping = stop.reason if stop else view.recorded_stop if pod.deleting else None
    reported = _progress(view, job)
    progress = reported or job.status.progress
    losses = numbers((view.progress or {}).get("epoch_losses"))
    curve = job.status.curve if reported is None else metrics_curve.extended(job.status.curve, reported, losses)
    running = EventRecord(Reason.TRAINING_RUNNING, f"{pod.name} {_VERBS[job.spec.mode]}")
    event = _problem(view, job, pod, stop) or running
    message = event.message
    if event.reason == Reason.TRAINING_RUNNING and progress is not None and progress.summary:
        message += f": epoch {progress.summary}"
    new = status.training(view, job, pod.name, event.reason, message, progress, curve, stopping)
    first = created(view, job, pod)
    return new, (first, event) if event.reason != Reason.POD_NOT_STARTED else (first,)


def is_about_to_start(view: TurnView, pod: TrainingPod) -> bool:
    """True for a pod so young that a status is not worth a write: most pods run before the next reconcile."""
    quiet = pod.waiting is not None and pod_failures.start_reason(pod) == Reason.POD_NOT_STARTED and not pod.deleting
    age = (view.now - parse_time(pod.created)).total_seconds()
    return quiet and not view.node_trouble and age < view.policy.progress_interval


def _problem(view: TurnView, job: Job, pod: TrainingPod, stop: Stop | None) -> EventRecord | None:
    """Return the most serious problem of a live pod, or why it stops; None if it trains."""
    if view.node_trouble:
        return EventRecord(Reason.NODE_LOST, pod_failures.lost_node_message(pod, view.node_trouble), warning=True)
    if pod.deleting:
        return _ending(view, job, pod)
    if stop is not None:
        return EventRecord(
            stop.reason, f"{pod.name} stops: {stop.message}", warning=stop.reason not in COST_FREE_REASONS
        )
    if pod.waiting is not None:
        reason = pod_failures.start_reason(pod)
        return EventRecord(reason, pod_failures.start_message(pod), warning=reason != Reason.POD_NOT_STARTED)
    return None


def _ending(view: TurnView, job: Job, pod: TrainingPod) -> EventRecord:
    """Return why a pod that is being deleted ends, or that it does not end."""
    stuck = pod_failures.stuck_message(pod, view.now, view.policy.stuck_after)
    if stuck is not None:
        return EventRecord(Reason.POD_STUCK, stuck, warning=True)
    stopping = view.recorded_stop
    if stopping is not None:
        message = _recorded_message(job, stopping) or f"{pod.name} stops: {stopping.description}"
        return EventRecord(stopping, message)
    return EventRecord(Reason.DISRUPTED if pod.disruption else Reason.STOPPING, pod_failures.disruption_message(pod))


def _recorded_message(job: Job, reason: Reason) -> str | None:
    """Return the message of the condition Reconciling; None if it has another reason."""
    found = next((c for c in job.status.conditions if c.type == ConditionType.RECONCILING), None)
    return found.message if found is not None and found.reason == reason else None


def outlived(view: TurnView, job: Job) -> tuple[YoloTrainingJobStatus, EventRecord] | None:
    """Return the status and the Event of a sidecar that blocks the GPU after its trainer has ended; None in time."""
    pod = view.own_pod
    if pod is None or not pod.outlived:
        return None
    stuck = pod_failures.stuck_message(pod, view.now, view.policy.stuck_after)
    if stuck is None:
        return None
    return status.kept_waiting(job, Reason.POD_STUCK, stuck), EventRecord(Reason.POD_STUCK, stuck, warning=True)


def cause_of_loss(view: TurnView, job: Job) -> tuple[Reason, str]:
    """Return why a pod has disappeared: stopped, lost with its node, disrupted, or deleted by another client."""
    stopping = view.recorded_stop
    if stopping is not None:
        message = _recorded_message(job, stopping) or f"{job.status.pod} stopped: {stopping.description}"
        return stop_reasons.attempt_reason(stopping), message
    for reason in (Reason.NODE_LOST, Reason.DISRUPTED):
        recorded = _recorded_message(job, reason)
        if recorded is not None:
            return reason, f"pod {job.status.pod} is gone: {recorded}"
    return Reason.POD_LOST, (
        f"pod {job.status.pod} was deleted by another client: the job resumes from its checkpoint; to stop it, set "
        "spec.suspend or delete the job"
    )


def eta(view: TurnView) -> str | None:
    """Return when the training is expected to end; None if unknown."""
    left = seconds((view.progress or {}).get("eta_seconds"))
    return None if left is None else timestamp(view.now + timedelta(seconds=left))


def final_progress(job: Job, attempt: Attempt, results: Results | None) -> Progress | None:
    """Return the progress that the trainer's termination message reports."""
    progress = job.status.progress
    if not job.spec.trains:
        return Progress(epoch=0, epochs=0, summary="", stage="done", metrics=results.metrics if results else {})
    if progress is None or attempt.epoch is None:
        return progress
    epoch = min(attempt.epoch, progress.epochs)
    return progress.model_copy(
        update={"epoch": epoch, "summary": _summary(epoch, progress.epochs), "stage": "done", "eta": None}
    )


def _progress(view: TurnView, job: Job) -> Progress | None:
    reported: dict[str, Any] = view.progress or {}
    epoch, epochs = reported.get("epoch"), reported.get("epochs")
    if not isinstance(epoch, int) or not isinstance(epochs, int) or not 0 <= epoch <= epochs < 2**31:
        return None
    new = Progress(
        epoch=epoch, epochs=epochs, summary=_summary(epoch, epochs), stage=str(reported.get("stage", ""))[:32],
        metrics=numbers(reported.get("metrics")), eta=eta(view),
    )  # fmt: skip
    return _with_stable_eta(new, job.status.progress)


def _summary(epoch: int, epochs: int) -> str:
    return f"{epoch}/{epochs}" if epochs else ""


def _with_stable_eta(new: Progress, old: Progress | None) -> Progress:
    """Keep an eta that moved by less than the tolerance, which saves writes of the status."""
    if (
        old is None
        or old.eta is None
        or new.eta is None
        or abs(parse_time(new.eta) - parse_time(old.eta)) > _ETA_TOLERANCE
    ):
        return new
    return new.model_copy(update={"eta": old.eta})


def created(view: TurnView, job: Job, pod: TrainingPod) -> EventRecord:
    """Return the Event of the training pod's creation."""
    message = f"created pod {pod.name}"
    if pod.proven_mib is not None:
        message += f" on node {view.lease.node}: {mib(pod.proven_mib)} measured free, {mib(job.need_mib)} needed"
    return EventRecord(Reason.POD_CREATED, message)
