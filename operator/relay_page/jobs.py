"""What the page shows of a job: pure functions from the API server's objects to small JSON."""

from collections.abc import Mapping
from typing import Any

from gpu_relay.api.v1alpha1 import Curve
from gpu_relay.domain.job.metrics_curve import Point, points

Object = dict[str, Any]
_HEADLINES = ("mAP50_95", "mAP50", "top1", "top5")
_TELLING = ("Stalled", "Failed", "Complete", "Suspended", "Reconciling")
"""Conditions that say why a job is where it is, the gravest first."""
_TIMELINE = 12
"""Attempts of a job that the timeline of its GPU shows; all are in the job's details."""
_SENTENCE = 300


def summary(job: Object) -> Object:
    """Return a job's line: enough for the list of jobs and the timeline of its GPU.

    Times are RFC 3339 as the API server has them, sizes MiB or as written in the spec.
    """
    meta, spec, status = job["metadata"], job.get("spec", {}), job.get("status", {})
    reason, message = _why(status)
    return {
        "uid": meta["uid"],
        "namespace": meta["namespace"],
        "name": meta["name"],
        "version": meta["resourceVersion"],
        "created": meta["creationTimestamp"],
        "phase": status.get("phase") or "New",
        "reason": reason,
        "message": message[:_SENTENCE],
        "priority": spec.get("priority", 0),
        "need": spec.get("gpu", {}).get("memory", ""),
        "position": status.get("queuePosition"),
        "expected": status.get("estimatedStartTime"),
        "gpu": _gpu(status.get("gpu", {})),
        "turn": _turn(status.get("turn", {})),
        "progress": _progress(status.get("progress", {})),
        "headline": headline(status),
        "attempts": [_attempt(each) for each in status.get("attempts", [])[-_TIMELINE:]],
        "ended": status.get("completionTime"),
    }


def details(job: Object) -> Object:
    """Return what the page shows of a job that somebody looks at."""
    spec, status = job.get("spec", {}), job.get("status", {})
    return {
        **summary(job),
        "why": _why(status)[1],
        "spec": _facts(spec),
        "conditions": [_condition(each) for each in status.get("conditions", [])],
        "attempts": [_told(each) for each in status.get("attempts", [])],
        "curve": [_point(each) for each in points(_curve(status))],
        "results": status.get("results", {}),
        "preparation": status.get("preparation"),
        "pod": status.get("pod") or "",
    }


def headline(status: Mapping[str, Any]) -> list[Any] | None:
    """Return name and value of the figure that a job is best judged by: of its results, or so far."""
    for metrics in (status.get("results", {}).get("metrics", {}), status.get("progress", {}).get("metrics", {})):
        for name in _HEADLINES:
            if name in metrics:
                return [name, metrics[name]]
    return None


def event(raw: Object) -> Object:
    """Return an Event of a job."""
    last = raw.get("eventTime") or raw.get("lastTimestamp") or raw["metadata"]["creationTimestamp"]
    return {
        "time": last,
        "warning": raw.get("type") == "Warning",
        "reason": raw.get("reason", ""),
        "message": raw.get("message", ""),
    }


def _why(status: Object) -> tuple[str, str]:
    true = {each["type"]: each for each in status.get("conditions", []) if each.get("status") == "True"}
    for kind in _TELLING:
        if kind in true:
            return true[kind].get("reason", ""), true[kind].get("message", "")
    return "", ""


def _gpu(gpu: Object) -> Object | None:
    if not gpu:
        return None
    names = ("node", "uuid", "name", "resident", "total", "needed", "freeBefore", "freeAfter")
    return {name: gpu.get(name) for name in names}


def _turn(turn: Object) -> Object | None:
    return {"since": turn["since"], "stopping": turn.get("stopping")} if turn else None


def _progress(progress: Object) -> Object | None:
    if not progress:
        return None
    return {name: progress.get(name) for name in ("epoch", "epochs", "stage", "eta")}


def _attempt(attempt: Object) -> Object:
    return {
        "number": attempt["number"],
        "reason": attempt.get("reason", ""),
        "start": attempt.get("startTime"),
        "end": attempt.get("completionTime"),
        "gpu": attempt.get("gpu"),
    }


def _told(attempt: Object) -> Object:
    more = {name: attempt.get(name) for name in ("pod", "message", "exitCode", "epoch", "batch")}
    return {**_attempt(attempt), **more}


def _condition(condition: Object) -> Object:
    names = ("type", "status", "reason", "message", "lastTransitionTime")
    return {name: condition.get(name, "") for name in names}


def _curve(status: Object) -> Curve | None:
    return Curve.model_validate(status["curve"]) if "curve" in status else None


def _point(point: Point) -> Object:
    return {"epoch": point.epoch, "metrics": dict(point.metrics), "losses": dict(point.losses)}


def _facts(spec: Object) -> Object:
    training, gpu = spec.get("training", {}), spec.get("gpu", {})
    return {
        "model": spec.get("model", ""),
        "task": spec.get("task", ""),
        "mode": spec.get("mode"),
        "epochs": training.get("epochs") if spec.get("mode") in (None, "Train") else None,
        "validation": spec.get("validation", {}).get("split"),
        "imageSize": training.get("imageSize"),
        "batch": training.get("batch"),
        "memory": gpu.get("memory", ""),
        "sharing": gpu.get("sharing", ""),
        "priority": spec.get("priority", 0),
        "backoffLimit": spec.get("backoffLimit"),
    }
