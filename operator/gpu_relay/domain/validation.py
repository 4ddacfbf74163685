"""What a job may not ask for, beyond what the CRD's schema and CEL rules already refuse."""

import json

from gpu_relay.domain.model import Job

_MOST_ARGS_BYTES = 16 * 1024

MANAGED_ARGS = {
    "data": "spec.dataset",
    "model": "spec.model",
    "task": "spec.task",
    "epochs": "spec.training.epochs",
    "imgsz": "spec.training.imageSize",
    "batch": "spec.training.batch",
    "patience": "spec.training.patience",
    "seed": "spec.training.seed",
    "device": "spec.gpu",
    "project": "spec.output",
    "name": "spec.output",
    "save_dir": "spec.output",
    "exist_ok": "spec.output",
    "resume": "nothing: interrupted jobs always resume",
    "mode": "nothing: the mode is always train",
}
"""Ultralytics arguments that the relay sets itself, and the field that stands for each."""


def objection(job: Job) -> str | None:
    """Say what must be changed in a spec that can never run; None for a good one."""
    for name in job.spec.training.args:
        if name in MANAGED_ARGS:
            return f"training.args.{name} is set by the relay; use {MANAGED_ARGS[name]} instead"
    size = len(json.dumps(job.spec.training.args))
    if size > _MOST_ARGS_BYTES:
        return f"training.args take {size:,} bytes; a training pod's annotations have room for {_MOST_ARGS_BYTES:,}"
    return None
