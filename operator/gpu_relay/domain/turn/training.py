"""Following a live training pod: progress, what it waits for, and how its disappearance is to be read."""

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
_DOES: Mapping[str | None, str] = MappingProxyType(
    {None: "trains", "Train": "trains", "Validate": "validates", "Export": "exports"}
)
"""What the training pod of a job does, by `spec.mode`."""


def followed(
    view: TurnView, job: Job, pod: TrainingPod, stop: Stop | None
) -> tuple[YoloTrainingJobStatus, tuple[EventRecord, ...]]:
    """Return the status of a job whose pod lives, and the Events that tell of it; `stop` is why it is told to stop."""
    stopping = stop.reason if stop else view.recorded_stop if pod.deleting else None
    heard = _progress(view, job)
    progress = heard or job.status.progress
    losses = numbers((view.progress or {}).get("epoch_losses"))
    line = job.status.curve if heard is None else metrics_curve.extended(job.status.curve, heard, losses)
    does = EventRecord(Reason.TRAINING_RUNNING, f"{pod.name} {_DOES[job.spec.mode]}")
    notice = _state(view, job, pod, stop) or does
    message = notice.message
    if notice.reason == Reason.TRAINING_RUNNING and progress is not None and progress.summary:
        message += f": epoch {progress.summary}"
    new = status.training(view, job, pod.name, notice.reason, message, progress, line, stopping)
    told = created(view, job, pod)
    return new, (told, notice) if notice.reason != Reason.POD_NOT_STARTED else (told,)


def is_about_to_start(view: TurnView, pod: TrainingPod) -> bool:
    """True for a pod so young that it is no news that it does not run: most do before there would be a second look."""
    quiet = pod.waiting is not None and pod_failures.start_reason(pod) == Reason.POD_NOT_STARTED and not pod.deleting
    age = (view.now - parse_time(pod.created)).total_seconds()
    return quiet and not view.node_trouble and age < view.policy.progress_interval


def _state(view: TurnView, job: Job, pod: TrainingPod, stop: Stop | None) -> EventRecord | None:
    """Say what is to be known of a live pod, the gravest first; None where it simply trains."""
    if view.node_trouble:
        return EventRecord(Reason.NODE_LOST, pod_failures.lost_node_message(pod, view.node_trouble), warning=True)
    if pod.deleting:
        return _goes(view, job, pod)
    if stop is not None:
        return EventRecord(
            stop.reason, f"{pod.name} stops: {stop.message}", warning=stop.reason not in COST_FREE_REASONS
        )
    if pod.waiting is not None:
        reason = pod_failures.start_reason(pod)
        return EventRecord(reason, pod_failures.start_message(pod), warning=reason != Reason.POD_NOT_STARTED)
    return None


def _goes(view: TurnView, job: Job, pod: TrainingPod) -> EventRecord:
    """Say why a pod that is being deleted goes, or that it does not."""
    stuck = pod_failures.stuck_message(pod, view.now, view.policy.stuck_after)
    if stuck is not None:
        return EventRecord(Reason.POD_STUCK, stuck, warning=True)
    told = view.recorded_stop
    if told is not None:
        return EventRecord(told, _said(job, told) or f"{pod.name} stops: {told.description}")
    return EventRecord(Reason.DISRUPTED if pod.disruption else Reason.STOPPING, pod_failures.disruption_message(pod))


def _said(job: Job, *reasons: Reason) -> str | None:
    """Return what the status says of why the job is where it is, if it is for one of these reasons."""
    said = next((c for c in job.status.conditions if c.type == ConditionType.RECONCILING), None)
    return said.message if said is not None and said.reason in reasons else None


def outlived(view: TurnView, job: Job) -> tuple[YoloTrainingJobStatus, EventRecord] | None:
    """Say that a sidecar of an ended trainer will not end, so that the GPU stays blocked; None while it is in time."""
    pod = view.own_pod
    stuck = (
        pod_failures.stuck_message(pod, view.now, view.policy.stuck_after) if pod is not None and pod.outlived else None
    )
    if stuck is None:
        return None
    return status.kept_waiting(job, Reason.POD_STUCK, stuck), EventRecord(Reason.POD_STUCK, stuck, warning=True)


def cause_of_loss(view: TurnView, job: Job) -> tuple[Reason, str]:
    """Read the disappearance of a pod: told to stop, lost with its node, taken away, or deleted by somebody else."""
    told = view.recorded_stop
    if told is not None:
        return stop_reasons.attempt_reason(told), _said(job, told) or f"{job.status.pod} stopped: {told.description}"
    for reason in (Reason.NODE_LOST, Reason.DISRUPTED):
        said = _said(job, reason)
        if said is not None:
            return reason, f"pod {job.status.pod} is gone: {said}"
    return Reason.POD_LOST, (
        f"pod {job.status.pod} is gone, deleted by somebody else: the job goes on from its checkpoint; to stop it, set "
        "spec.suspend or delete the job"
    )


def eta(view: TurnView) -> str | None:
    """Return when the training is expected to end; None while unknown."""
    left = seconds((view.progress or {}).get("eta_seconds"))
    return None if left is None else timestamp(view.now + timedelta(seconds=left))


def final_progress(job: Job, attempt: Attempt, results: Results | None) -> Progress | None:
    """Bring the progress to what the trainer's last word says."""
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
    said: dict[str, Any] = view.progress or {}
    epoch, epochs = said.get("epoch"), said.get("epochs")
    if not isinstance(epoch, int) or not isinstance(epochs, int) or not 0 <= epoch <= epochs < 2**31:
        return None
    new = Progress(
        epoch=epoch, epochs=epochs, summary=_summary(epoch, epochs), stage=str(said.get("stage", ""))[:32],
        metrics=numbers(said.get("metrics")), eta=eta(view),
    )  # fmt: skip
    return _with_stable_eta(new, job.status.progress)


def _summary(epoch: int, epochs: int) -> str:
    return f"{epoch}/{epochs}" if epochs else ""


def _with_stable_eta(new: Progress, old: Progress | None) -> Progress:
    """Keep an eta that moved by less than the tolerance: a status that wobbles is written for nothing."""
    if (
        old is None
        or old.eta is None
        or new.eta is None
        or abs(parse_time(new.eta) - parse_time(old.eta)) > _ETA_TOLERANCE
    ):
        return new
    return new.model_copy(update={"eta": old.eta})


def created(view: TurnView, job: Job, pod: TrainingPod) -> EventRecord:
    """Tell that the training pod exists."""
    message = f"created pod {pod.name}"
    if pod.proven_mib is not None:
        message += f" on node {view.lease.node}: {mib(pod.proven_mib)} measured free, {mib(job.need_mib)} needed"
    return EventRecord(Reason.POD_CREATED, message)
