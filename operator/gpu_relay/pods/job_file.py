"""The trainer's job file (docs/contracts.md), and the mount paths of its volumes."""

from typing import Any, Literal

from gpu_relay.api.v1alpha1 import Labelling, Tracking
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.attempts import OUTPUT_MOUNT
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.quantities import duration

JOB_DIR = "/etc/gpu-relay"
DATA_MOUNT = "/data"
TRACKING_PREFIX = "GPU_RELAY_TRACKING_"
"""Prefix of the variables of a tracking Secret: without it, a key could set NVIDIA_VISIBLE_DEVICES or LD_PRELOAD."""

Contents = dict[str, Any]
_OWN = {"time_limit", "checkpoint_interval"}
"""Fields of `spec.training` that the file has in another form, or only if they are set."""


def training_file(job: Job, lease: GpuLease, resident: Resident | None, step: CreatePod, hold_ttl: float) -> Contents:
    """Return the job file of an attempt: the job, its GPU, and the hold that the trainer renews."""
    hold = None
    if resident is not None and not step.coresident:
        hold = {"url": resident.url, "fence": lease.fence, "renewKey": lease.renew_key, "ttlSeconds": hold_ttl}
    report = resident.report if resident else None
    gpu = {"uuid": report.uuid if report else None, "memoryMiB": job.need_mib}
    return _contents(job, step.attempt, step.batch) | {"gpu": gpu, "hold": hold}


def preparing_file(job: Job, label_server: str | None) -> Contents:
    """Return the job file of a preparation: the same job, without a GPU, and with the server that labels its images."""
    given: Contents = {} if label_server is None else {"labelServer": label_server}
    return _contents(job, 1, job.spec.training.batch) | given


def _contents(job: Job, attempt: int, batch: int | Literal["auto"]) -> Contents:
    training = job.spec.training
    given: Contents = {"timeLimit": _seconds(training.time_limit)} if training.time_limit else {}
    if training.checkpoint_interval is not None:  # older trainers do not know it
        given["checkpointInterval"] = training.checkpoint_interval
    return {
        "job": {"namespace": job.key.namespace, "name": job.key.name, "uid": job.key.uid},
        "attempt": attempt,
        "model": job.spec.model,
        "task": job.spec.task,
        "dataset": _dataset(job),
        "training": {**training.model_dump(by_alias=True, exclude=_OWN), "batch": batch, **given},
        "output": {
            "path": _inside(OUTPUT_MOUNT, job.spec.output.path or job.key.name),
            "uri": job.spec.output.uri,
            "export": job.spec.output.export,
            **({"keepCheckpoint": True} if job.spec.output.keep_checkpoint else {}),
        },
    } | _where_given(job)


def _where_given(job: Job) -> Contents:
    """Return the fields that older trainers do not know, if they are set."""
    spec, given = job.spec, Contents()
    if spec.mode is not None:
        given["mode"] = spec.mode
    if spec.validation is not None:
        given["validation"] = {"split": spec.validation.split}
    if spec.resume_from is not None:
        inside = "://" not in spec.resume_from
        given["resumeFrom"] = _inside(OUTPUT_MOUNT, spec.resume_from) if inside else spec.resume_from
    if spec.tracking is not None:
        given["tracking"] = _plain(spec.tracking)
    return given


def _plain(tracking: Tracking) -> Contents:
    """Return the section without the Secret: credentials are in the environment."""
    return tracking.model_dump(by_alias=True, exclude={"secret_name"}, exclude_none=True)


def _dataset(job: Job) -> Contents:
    dataset = job.spec.dataset
    if dataset.uri is None:
        label = {} if dataset.label is None else {"label": _label(dataset.label)}
        return {"path": _inside(DATA_MOUNT, dataset.path), **label}
    return {"uri": dataset.uri, "sha256": dataset.sha256, "path": dataset.path or None}


def _label(label: Labelling) -> Contents:
    """Return the section; without a review, it has only fields that older trainers know."""
    return label.model_dump(by_alias=True, exclude=set() if label.review == "Required" else {"review", "approved"})


def _seconds(time_limit: str) -> int:
    """Return a duration in whole seconds; at least 1."""
    return max(1, round(duration(time_limit).total_seconds()))


def _inside(root: str, path: str) -> str:
    return f"{root}/{path}".rstrip("/")
