# SPDX-License-Identifier: AGPL-3.0-only
"""The metrics that the trainer reports, by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_trainer.job.spec import Task

_BOX = {"mAP50": "metrics/mAP50(B)", "mAP50_95": "metrics/mAP50-95(B)"}
_METRICS: Mapping[Task, Mapping[str, str]] = {
    "detect": _BOX,
    "obb": _BOX,
    "segment": {"mAP50": "metrics/mAP50(M)", "mAP50_95": "metrics/mAP50-95(M)"},
    "pose": {"mAP50": "metrics/mAP50(P)", "mAP50_95": "metrics/mAP50-95(P)"},
    "classify": {"top1": "metrics/accuracy_top1", "top5": "metrics/accuracy_top5"},
}


def metrics_of(task: Task, raw: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the metrics of the task, out of Ultralytics' own."""
    return {name: float(raw[key]) for name, key in _METRICS[task].items() if raw and key in raw}


def sentence(metrics: Mapping[str, float]) -> str:
    """Return figures as `mAP50 0.91, mAP50-95 0.62`."""
    return ", ".join(f"{name.replace('_', '-')} {value:.3f}" for name, value in metrics.items()) or "not validated"
