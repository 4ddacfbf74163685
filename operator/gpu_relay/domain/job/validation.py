"""What a spec must not contain, beyond what the CRD's schema and CEL rules refuse."""

from gpu_relay.domain.objects.job import MOST_ARGS_BYTES, Job, args_bytes

MANAGED_ARGS = {
    "data": "use spec.dataset",
    "model": "use spec.model",
    "task": "use spec.task",
    "epochs": "use spec.training.epochs",
    "imgsz": "use spec.training.imageSize",
    "batch": "use spec.training.batch",
    "patience": "use spec.training.patience",
    "seed": "use spec.training.seed",
    "time": "use spec.training.timeLimit",
    "format": "use spec.output.export",
    "device": "use spec.gpu",
    "project": "use spec.output",
    "name": "use spec.output",
    "save_dir": "use spec.output",
    "exist_ok": "leave it out: the output's folder is always kept",
    "save": "leave it out: checkpoints are always saved",
    "resume": "leave it out: interrupted jobs always resume",
    "mode": "leave it out: the mode is always train",
    "cfg": "write each argument by its own name",
}
"""Ultralytics arguments that the relay sets itself, and what to do instead of each."""


def objection(job: Job) -> str | None:
    """Return what to change in a spec that can never run; None for a valid one."""
    args = job.spec.training.args
    managed = [f"training.args.{name}: {MANAGED_ARGS[name]}" for name in args if name in MANAGED_ARGS]
    problems = [f"the relay sets these arguments itself: {', '.join(managed)}"] if managed else []
    size = job.args_bytes or args_bytes(job.spec)
    if size > MOST_ARGS_BYTES:
        problems.append(
            f"training.args take {size:,} bytes; a training pod's annotations have room for {MOST_ARGS_BYTES:,}"
        )
    return "; ".join(problems) or None
