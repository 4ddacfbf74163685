"""Jobs and Leases as the API server has them, read into what decisions, and people, need."""

import re
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.domain.model import HOLDER_RESIDENT, GpuLease, Job, JobKey, UnreadableJob
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.validation import MOST_ARGS_BYTES, args_bytes

Object = dict[str, Any]
_LONGEST_VALUE = 64
_LONGEST_MESSAGE = 256
_NAMED_FIELDS = 3
_WHAT_TO_DO = (
    ". The operator leaves the job as it is, and a training pod of it continues: correct the field, or install the CRD "
    "and the operator of one version"
)
DEFAULT_PORT = 8000
"""Of a resident's API, where its pod and `GPU_RELAY_RESIDENT_PORT` say nothing else."""


class UnreadableJobError(Exception):
    """A job exists, and a field of it cannot be read: it is unknown, not gone (law 10)."""

    def __init__(self, job: UnreadableJob, fields: str) -> None:
        """`fields` says what is wrong with each; the job's `problem` says what to do as well."""
        super().__init__(job.problem)
        self.job = job
        self.fields = fields


def job_of(raw: Object) -> Job:
    """Read a YoloTrainingJob.

    UnreadableJobError for one that the schema in the cluster lets pass and this version's does not: another version
    wrote it, or the CRD was changed.
    """
    meta = raw["metadata"]
    try:
        spec = YoloTrainingJobSpec.model_validate(raw.get("spec", {}))
    except ValidationError as error:
        raise _unreadable(raw, "spec", error) from None
    try:
        status = YoloTrainingJobStatus.model_validate(raw.get("status", {}))
    except ValidationError as error:
        raise _unreadable(raw, "status", error) from None
    size = args_bytes(spec)
    return Job(
        key=JobKey(meta["namespace"], meta["name"], meta["uid"]),
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        created=meta["creationTimestamp"],
        deleting="deletionTimestamp" in meta,
        spec=spec if size <= MOST_ARGS_BYTES else _without_args(spec),
        status=status,
        args_bytes=size,
        local_queue=meta.get("labels", {}).get(words.LABEL_LOCAL_QUEUE, ""),
    )


def _without_args(spec: YoloTrainingJobSpec) -> YoloTrainingJobSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update={"args": {}})})


def conditions_of(raw: Object) -> list[Object]:
    """Return the conditions of a job as they stand in it, whatever else of its status cannot be read."""
    status = raw.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _unreadable(raw: Object, part: str, error: ValidationError) -> UnreadableJobError:
    meta, fields = raw["metadata"], _fields(part, error)
    problem = f"{fields}{_WHAT_TO_DO}"
    said = (each for each in conditions_of(raw) if each.get("type") == words.ConditionType.UNREADABLE)
    job = UnreadableJob(
        key=JobKey(meta["namespace"], meta["name"], meta["uid"]),
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        problem=problem,
        is_reported=any(each.get("message") == problem and each.get("status") == "True" for each in said),
    )
    return UnreadableJobError(job, fields)


def _fields(part: str, error: ValidationError) -> str:
    """Name the first fields that cannot be read, with what is wrong with each."""
    errors = error.errors(include_url=False, include_context=False)
    named = [_field(part, each["loc"], each["msg"], each["input"]) for each in errors[:_NAMED_FIELDS]]
    more = f"; and {len(errors) - len(named)} more" if len(errors) > len(named) else ""
    return f"{'; '.join(named)}{more}"


def _field(part: str, place: tuple[int | str, ...], message: str, value: object) -> str:
    path = part + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
    shown = repr(value)[:_LONGEST_VALUE] if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return f"{path[:_LONGEST_MESSAGE]} is {shown}: {message[:_LONGEST_MESSAGE]}"


def port_of(pod: Object, default: int = DEFAULT_PORT) -> int:
    """Return the port of a resident pod's API: the annotation's, else the container port named `http`, else `default`.

    The operator and the plugin both go by it.
    """
    said = pod["metadata"].get("annotations", {}).get(words.ANNOTATION_PORT, "")
    if re.fullmatch("[1-9][0-9]{0,4}", said) and int(said) < 2**16:
        return int(said)
    containers = pod.get("spec", {}).get("containers", [])
    ports = (port for container in containers for port in container.get("ports", []))
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "http"), default)


def lease_of(raw: Object) -> GpuLease:
    """Read a GPU's Lease."""
    meta, spec = raw["metadata"], raw.get("spec", {})
    annotations = meta.get("annotations", {})
    acquired = spec.get("acquireTime")
    return GpuLease(
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        gpu=meta["name"],
        holder=spec.get("holderIdentity", HOLDER_RESIDENT),
        fence=spec.get("leaseTransitions", 0),
        acquired=timestamp(datetime.fromisoformat(acquired)) if acquired else None,
        renew_key=annotations.get(words.ANNOTATION_RENEW_KEY, ""),
        node=annotations.get(words.ANNOTATION_NODE, ""),
        reload_owed=annotations.get(words.ANNOTATION_RELOAD_OWED, ""),
        out_since=annotations.get(words.ANNOTATION_OUT_SINCE),
        served_since=annotations.get(words.ANNOTATION_SERVED_SINCE),
        unused_since=annotations.get(words.ANNOTATION_UNUSED_SINCE),
        missing_since=annotations.get(words.ANNOTATION_MISSING_SINCE),
        uid=meta.get("uid", ""),
    )
