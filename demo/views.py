"""What the demo reads of the objects that kubectl returns."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One training pod that has ended, from the status of the job."""

    number: int
    pod: str
    reason: str
    message: str
    exit_code: int | None


@dataclass(frozen=True)
class JobView:
    """The state of a YoloTrainingJob. Memory is in MiB."""

    phase: str
    says: str
    """The message of the condition `Reconciling`: what the job is waiting for."""
    failure: str
    """The message of the condition `Failed` where that is true."""
    resident_reloaded: bool
    pod: str
    epoch: int
    epochs: int
    map50: float | None
    attempts: tuple[Attempt, ...]
    free_before: int | None
    free_after: int | None
    metrics: dict[str, float]
    """Metrics of the best weights, once there are results."""
    peak_memory: int | None

    @property
    def training_ended(self) -> bool:
        """Say whether a training pod has ended, or the whole job."""
        return bool(self.attempts) or self.phase in ("Succeeded", "Failed")


def job_view(job: Object) -> JobView:
    """Read a YoloTrainingJob."""
    status = job.get("status", {})
    progress, gpu, results = (status.get(key) or {} for key in ("progress", "gpu", "results"))
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}

    def true(kind: str) -> bool:
        return bool(conditions.get(kind, {}).get("status") == "True")

    return JobView(
        phase=status.get("phase") or "",
        says=conditions.get("Reconciling", {}).get("message", "") if true("Reconciling") else "",
        failure=conditions.get("Failed", {}).get("message", "") if true("Failed") else "",
        resident_reloaded=true("ResidentReloaded"),
        pod=status.get("pod") or "",
        epoch=progress.get("epoch", 0),
        epochs=progress.get("epochs", 0),
        map50=progress.get("metrics", {}).get("mAP50"),
        attempts=tuple(_attempt(attempt) for attempt in status.get("attempts", [])),
        free_before=gpu.get("freeBefore"),
        free_after=gpu.get("freeAfter"),
        metrics=results.get("metrics", {}),
        peak_memory=results.get("peakMemory"),
    )


def _attempt(raw: Object) -> Attempt:
    return Attempt(raw["number"], raw["pod"], raw["reason"], raw.get("message", ""), raw.get("exitCode"))


@dataclass(frozen=True)
class Terminated:
    """How a pod's first container ended. Times are seconds since the epoch, to the second."""

    exit_code: int
    started: float
    finished: float
    reason: str
    """From the trainer's termination message; empty without one."""
    message: str


def terminated(pod: Object) -> Terminated | None:
    """Read how a pod's first container ended; None while it has not."""
    for status in pod.get("status", {}).get("containerStatuses", []):
        if state := status.get("state", {}).get("terminated"):
            word = _termination_message(state.get("message", ""))
            return Terminated(
                state["exitCode"],
                _seconds(state["startedAt"]),
                _seconds(state["finishedAt"]),
                word.get("reason", ""),
                word.get("message", ""),
            )
    return None


@dataclass(frozen=True)
class Identity:
    """What changes when a pod is replaced or its container restarted."""

    uid: str
    restarts: int


def identity(pod: Object) -> Identity:
    """Read a pod's identity."""
    restarts = sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
    return Identity(pod["metadata"]["uid"], restarts)


def _termination_message(message: str) -> Object:
    try:
        word = json.loads(message)
    except ValueError:
        return {}
    return word if isinstance(word, dict) else {}


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
