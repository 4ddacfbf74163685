"""Following a live training pod: progress, what it waits for, and how its disappearance is to be read."""

from datetime import timedelta
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt, Progress, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain import status
from gpu_relay.domain.fairness import clocks_of, is_exhausted
from gpu_relay.domain.model import Job, TrainingPod, TurnView
from gpu_relay.domain.outcome import numbers
from gpu_relay.domain.quantities import mib, parse_time, timestamp
from gpu_relay.domain.steps import Notice

_ETA_TOLERANCE = timedelta(seconds=30)


def followed(view: TurnView, job: Job, pod: TrainingPod) -> tuple[YoloTrainingJobStatus, tuple[Notice, ...]]:
    """Return the status of a job whose pod lives, and the Events that tell of it."""
    created = Notice(Reason.POD_CREATED, _created_message(job, pod))
    progress = _progress(view, job)
    if pod.waiting is not None:
        new = status.training(view, job, pod.name, Reason.POD_NOT_STARTED, f"{pod.name}: {pod.waiting}", progress)
        return new, (created,)
    if pod.deleting:
        message = f"{pod.name} stops: it writes a checkpoint and ends"
        new = status.training(view, job, pod.name, Reason.STOPPING, message, progress)
        return new, (Notice(Reason.STOPPING, message),)
    new = status.training(view, job, pod.name, Reason.TRAINING_RUNNING, _running_message(pod, progress), progress)
    return new, (created, Notice(Reason.TRAINING_RUNNING, f"{pod.name} trains"))


def overdue(view: TurnView, pod: TrainingPod) -> bool:
    """True when a pod has not started for so long that the resident should have its GPU back."""
    waited = (view.now - parse_time(pod.created)).total_seconds()
    return pod.waiting is not None and waited > view.policy.pod_start_timeout


def must_yield(view: TurnView, job: Job) -> bool:
    """True when a job that yields has kept its resident out for too long, and the resident is wanted."""
    report = view.resident.report if view.resident else None
    if not job.spec.gpu.yield_to_resident or report is None or not report.refused:
        return False
    return is_exhausted(view.lease, clocks_of(view.policy, view.resident), view.now)


def cause_of_loss(job: Job) -> tuple[Reason, str]:
    """Read the disappearance of a pod: told to stop, never started, or lost."""
    told = next((c for c in job.status.conditions if c.type == "Reconciling"), None)
    if job.spec.suspend:
        return Reason.SUSPENDED, "suspended on request; goes on from its checkpoint when resumed"
    if told is not None and told.reason == Reason.POD_NOT_STARTED:
        return Reason.ERROR, f"the pod did not start: {told.message}"
    if told is not None and told.reason in {Reason.STOPPING, Reason.YIELDING_TO_RESIDENT}:
        return Reason.INTERRUPTED, f"pod {job.status.pod} was told to stop and is gone; goes on from its checkpoint"
    return Reason.POD_LOST, f"pod {job.status.pod} is gone: deleted by hand, evicted, or lost with its node"


def eta(view: TurnView) -> str | None:
    """Return when the training is expected to end; None while unknown."""
    seconds = (view.progress or {}).get("eta_seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 10**8:
        return None
    return timestamp(view.now + timedelta(seconds=seconds))


def final_progress(job: Job, attempt: Attempt) -> Progress | None:
    """Bring the progress to what the trainer's last word says."""
    progress = job.status.progress
    if progress is None or attempt.epoch is None:
        return progress
    epoch = min(attempt.epoch, progress.epochs)
    return progress.model_copy(
        update={"epoch": epoch, "summary": f"{epoch}/{progress.epochs}", "stage": "done", "eta": None}
    )


def _progress(view: TurnView, job: Job) -> Progress | None:
    said: dict[str, Any] = view.progress or {}
    epoch, epochs = said.get("epoch"), said.get("epochs")
    if not isinstance(epoch, int) or not isinstance(epochs, int) or not 0 <= epoch <= epochs < 2**31:
        return None
    new = Progress(
        epoch=epoch, epochs=epochs, summary=f"{epoch}/{epochs}", stage=str(said.get("stage", ""))[:32],
        metrics=numbers(said.get("metrics")), eta=eta(view),
    )  # fmt: skip
    return _with_stable_eta(new, job.status.progress)


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


def _created_message(job: Job, pod: TrainingPod) -> str:
    gpu = job.status.gpu
    if gpu is None or gpu.free_after is None:
        return f"created pod {pod.name}"
    return f"created pod {pod.name} on node {gpu.node}: {mib(gpu.free_after)} free, {mib(job.need_mib)} needed"


def _running_message(pod: TrainingPod, progress: Progress | None) -> str:
    return f"{pod.name} trains" if progress is None else f"{pod.name} trains: epoch {progress.summary}"
