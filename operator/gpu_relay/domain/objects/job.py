"""A YoloTrainingJob as decisions see it, and its codec from the API server's object."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.demand import Demand, Grant
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import memory_mib

Object = dict[str, Any]

MOST_ARGS_BYTES = 16 * 1024
"""Limit of `spec.training.args` as JSON: it must fit into the annotations of a pod."""

_LONGEST_VALUE = 64

_LONGEST_MESSAGE = 256

_NAMED_FIELDS = 3

_WHAT_TO_DO = (
    ". The operator does not change the job, and its training pod continues: correct the field, or install the CRD "
    "and the operator of the same version"
)


@dataclass(frozen=True)
class Job:
    """A YoloTrainingJob as it was last read."""

    key: JobKey
    generation: int
    resource_version: str
    created: str
    deleting: bool
    spec: YoloTrainingJobSpec
    status: YoloTrainingJobStatus
    local_queue: str = ""
    """The LocalQueue of Kueue that admits the job; empty without Kueue."""
    grant: Grant = field(default_factory=Grant)
    """The grant of Kueue; empty without Kueue."""
    prebuilt_workload: str = ""
    """The Workload that another cluster's MultiKueue has created for the job; empty for all others."""
    args_bytes: int = 0
    """Size of `spec.training.args` as JSON; if it is too large, the args are not kept."""

    @property
    def node_selector(self) -> dict[str, str]:
        """Return the labels that the node of the job's GPU must have: those of the job, and of its grant."""
        return {**self.spec.pod_template.node_selector, **self.grant.node_labels}

    @cached_property
    def demand(self) -> Demand:
        """Return what the job requires of a GPU."""
        gpu = self.spec.gpu
        return Demand(
            self.key.namespace,
            self.need_mib,
            frozenset(self.node_selector.items()),
            frozenset(gpu.resident_selector.match_labels.items()),
            gpu.start_when,
            gpu.idle_for,
            json.dumps(self.tolerations),
        )

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        """Return the tolerations of its pods in addition to the site's: those of the job, and of its grant."""
        own = self.spec.pod_template.tolerations or []
        return [each.model_dump(by_alias=True, exclude_none=True) for each in own] + list(
            map(dict, self.grant.tolerations)
        )

    @property
    def priority(self) -> int:
        """Return its priority in the queue."""
        return self.spec.priority

    @property
    def queued_since(self) -> str:
        """Return the time by which the queue orders jobs of one priority."""
        return self.created

    @property
    def need_mib(self) -> int:
        """Return the GPU memory that the job requests, in MiB."""
        return memory_mib(self.spec.gpu.memory)

    def recorded_stop(self, fence: int) -> Reason | None:
        """Return why the operator stopped the pod of the turn with this fence; None if it did not."""
        turn = self.status.turn
        return Reason(turn.stopping) if turn is not None and turn.fence == fence and turn.stopping else None

    @property
    def next_attempt(self) -> int:
        """Return the number of the attempt that runs or is next."""
        return self.status.attempts[-1].number + 1 if self.status.attempts else 1


@dataclass(frozen=True)
class UnreadableJob:
    """A YoloTrainingJob with a field that this version cannot read: it exists, and nothing else is known of it."""

    key: JobKey
    generation: int
    resource_version: str
    problem: str
    """A sentence that names the field."""
    is_reported: bool
    """True if the job's condition Unreadable has this message already."""


class UnreadableJobError(Exception):
    """A job exists, and one of its fields cannot be read: the job is unknown, not gone (law 10)."""

    def __init__(self, job: UnreadableJob, fields: str) -> None:
        """Create the error. `fields` has the cause for each field; the job's `problem` also says what to do."""
        super().__init__(job.problem)
        self.job = job
        self.fields = fields


def job_of(raw: Object) -> Job:
    """Read a YoloTrainingJob.

    Raises UnreadableJobError if a field is valid for the CRD in the cluster, but not for this version: another version
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
        prebuilt_workload=meta.get("labels", {}).get(words.LABEL_PREBUILT_WORKLOAD, ""),
    )


def args_bytes(spec: YoloTrainingJobSpec) -> int:
    """Return the size of `training.args` as JSON, in bytes."""
    return len(json.dumps(spec.training.args))


def conditions_of(raw: Object) -> list[Object]:
    """Return the conditions of a job unchanged, even if other fields of its status cannot be read."""
    status = raw.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _without_args(spec: YoloTrainingJobSpec) -> YoloTrainingJobSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update={"args": {}})})


def _unreadable(raw: Object, part: str, error: ValidationError) -> UnreadableJobError:
    meta, fields = raw["metadata"], _fields(part, error)
    problem = f"{fields}{_WHAT_TO_DO}"
    reported = (each for each in conditions_of(raw) if each.get("type") == words.ConditionType.UNREADABLE)
    job = UnreadableJob(
        key=JobKey(meta["namespace"], meta["name"], meta["uid"]),
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        problem=problem,
        is_reported=any(each.get("message") == problem and each.get("status") == "True" for each in reported),
    )
    return UnreadableJobError(job, fields)


def _fields(part: str, error: ValidationError) -> str:
    """Return the first fields that cannot be read, each with the cause."""
    errors = error.errors(include_url=False, include_context=False)
    named = [_field(part, each["loc"], each["msg"], each["input"]) for each in errors[:_NAMED_FIELDS]]
    more = f"; and {len(errors) - len(named)} more" if len(errors) > len(named) else ""
    return f"{'; '.join(named)}{more}"


def _field(part: str, place: tuple[int | str, ...], message: str, value: object) -> str:
    path = part + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)
    shown = repr(value)[:_LONGEST_VALUE] if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return f"{path[:_LONGEST_MESSAGE]} is {shown}: {message[:_LONGEST_MESSAGE]}"
