"""Training and preparing pods as decisions see them, and their codec from the API server's objects.

The users of a namespace can write labels and annotations of its pods, and its containers write their messages. So the
codec has limits and never raises: a value that is missing or out of range is read as unknown.
"""

from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.untrusted import digits, mapping, mappings, moment, read_object, text

Object = dict[str, Any]

QUIET_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of a waiting container that are no error."""

_ENDED = frozenset({"Succeeded", "Failed"})

_LONGEST_WORD = 16_384
"""Characters of a termination message that are read; the kubelet keeps 4,096 bytes, 12,288 for a whole pod."""

_UNKNOWN_AGE = "8999-01-01T00:00:00Z"
"""Creation time of a pod whose creationTimestamp cannot be read: such a pod is never overdue."""


@dataclass(frozen=True)
class Termination:
    """How a trainer ended: the exit of its container, and its termination message (`last_word`; empty without one).

    If the pod has ended and the trainer never ran, there is no exit code, and `reason` is that of the pod.
    """

    exit_code: int | None
    reason: str
    last_word: dict[str, Any] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    pod_reason: str = ""
    """Why the kubelet ended the whole pod, for example Evicted; empty if only its container ended."""
    pod_message: str = ""
    failed_init: str = ""
    """The init container whose failure kept the trainer from running (`reason` has the cause); empty if none did."""


@dataclass(frozen=True)
class TrainingPod:
    """A training or preparing pod of any job."""

    namespace: str
    name: str
    uid: str
    job_uid: str
    gpu: str
    fence: int
    phase: str
    ip: str | None
    deleting: bool
    created: str
    waiting: str | None
    """Why the trainer does not run yet: the message of the scheduler or kubelet; None once it runs."""
    termination: Termination | None
    """How the trainer ended, or the whole pod if the trainer never ran; None before."""
    outlived: bool = False
    """True if the trainer has ended and another container of the pod, a sidecar, may still run."""
    waiting_reason: str = ""
    """The reason of `waiting` in Kubernetes: Unschedulable, ErrImagePull, FailedMount, …"""
    waiting_on: str = ""
    """The init container that keeps the trainer from starting; empty if none does."""
    claims: tuple[str, ...] = ()
    """The PVCs that the pod mounts."""
    node: str = ""
    disruption: str = ""
    """Why the cluster evicts the pod: the reason of its condition DisruptionTarget; empty without that condition."""
    delete_by: str | None = None
    """When the grace period of its deletion ends; None if it is not being deleted, or if unknown."""
    proven_mib: int | None = None
    """Free MiB that were measured before it was created; None if unknown."""
    workload_uid: str = ""
    """The UID of the Workload whose turn it has; empty for a pod of a YoloTrainingJob."""

    @property
    def live(self) -> bool:
        """Return whether a container of the pod may still run: the pod then holds its share of the GPU.

        A pod that is being deleted is live while it is listed as running.
        """
        return self.termination is None or self.outlived


@dataclass(frozen=True)
class _Wait:
    """Why a pod's trainer does not run yet: the message, the reason, and the init container that causes it."""

    message: str | None = None
    reason: str = ""
    container: str = ""


def training_pod_of(raw: Object) -> TrainingPod:
    """Read a training or preparing pod. Invalid labels are read as 0, which belongs to no turn."""
    meta, spec, status = mapping(raw.get("metadata")), mapping(raw.get("spec")), mapping(raw.get("status"))
    labels, annotations = mapping(meta.get("labels")), mapping(meta.get("annotations"))
    workload = text(labels.get(words.LABEL_WORKLOAD_UID))
    # Only the phase says that a pod of any other program has ended: its containers may start again.
    wait, termination = _wait(spec, status), _termination({**status, "containerStatuses": []} if workload else status)
    return TrainingPod(
        namespace=text(meta.get("namespace")),
        name=text(meta.get("name")),
        uid=text(meta.get("uid")),
        job_uid=text(labels.get(words.LABEL_JOB_UID)),
        gpu=text(labels.get(words.LABEL_GPU)),
        fence=digits(labels.get(words.LABEL_FENCE)) or 0,
        phase=_phase(status),
        ip=text(status.get("podIP")) or None,
        deleting="deletionTimestamp" in meta,
        created=moment(meta.get("creationTimestamp")) or _UNKNOWN_AGE,
        waiting=wait.message,
        termination=termination,
        outlived=termination is not None and _outlived(spec, status),
        waiting_reason=wait.reason,
        waiting_on=wait.container,
        claims=_claims(spec),
        node=text(spec.get("nodeName")),
        disruption=text(_condition(status, "DisruptionTarget", "True").get("reason")),
        delete_by=moment(meta.get("deletionTimestamp")),
        proven_mib=digits(annotations.get(words.ANNOTATION_PROVEN_MIB)) or None,
        workload_uid=workload,
    )


def _phase(status: Object) -> str:
    return text(status.get("phase")) or "Pending"


def _condition(status: Object, kind: str, value: str) -> Object:
    """Return a pod's condition of one type if it has this status; empty otherwise."""
    found = (c for c in mappings(status.get("conditions")) if c.get("type") == kind and c.get("status") == value)
    return next(found, {})


def _trainer_state(status: Object) -> Object:
    """Return the state of the trainer's container, found by name: container statuses are sorted by name."""
    trainers = (c for c in mappings(status.get("containerStatuses")) if c.get("name") == words.TRAINER_CONTAINER)
    return mapping(next(trainers, {}).get("state"))


def _wait(spec: Object, status: Object) -> _Wait:
    """Return why the trainer does not run yet.

    A pod is also Pending while its trainer runs and the image of a sidecar cannot be pulled.
    """
    state = _trainer_state(status)
    if _phase(status) != "Pending" or "running" in state or "terminated" in state:
        return _Wait()
    unscheduled = _condition(status, "PodScheduled", "False")
    if unscheduled:
        cause = text(unscheduled.get("message")) or text(unscheduled.get("reason")) or "unknown"
        return _Wait(f"not scheduled: {cause}", text(unscheduled.get("reason")))
    quiet = "its container is being created" if spec.get("nodeName") else "the scheduler has not placed it yet"
    return _init_wait(status) or _container_wait(mapping(state.get("waiting")), quiet)


def _init_wait(status: Object) -> _Wait | None:
    """Return which init container or native sidecar keeps the trainer from starting; None if none does."""
    for each in mappings(status.get("initContainerStatuses")):
        name, state = text(each.get("name")), mapping(each.get("state"))
        waiting, ended = mapping(state.get("waiting")), mapping(state.get("terminated"))
        if text(waiting.get("reason")) not in QUIET_WAITING:
            last = mapping(mapping(each.get("lastState")).get("terminated"))
            message = _container_wait(waiting, "").message
            return _Wait(f"init container {name}: {message}{_exit(last)}", text(waiting.get("reason")), name)
        if _has_failed(ended):
            return _Wait(f"init container {name} failed{_exit(ended)}", text(ended.get("reason")), name)
        if "running" in state and not each.get("started"):
            return _Wait(f"init container {name} is running", "PodInitializing")
    return None


def _container_wait(waiting: Object, quiet: str) -> _Wait:
    reason, message = text(waiting.get("reason")), text(waiting.get("message"))
    return _Wait(quiet if reason in QUIET_WAITING else f"{reason}: {message}", reason)


def _has_failed(ended: Object) -> bool:
    return bool(ended) and ended.get("exitCode") != 0


def _exit(ended: Object) -> str:
    """Return how a container ended, with its message; empty if it has not ended."""
    if not ended:
        return ""
    message = text(ended.get("message")).strip()
    return f"; exit code {_exit_code(ended)} ({text(ended.get('reason'))})" + (f": {message}" if message else "")


def _exit_code(ended: Object) -> int | None:
    code = ended.get("exitCode")
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None


def _termination(status: Object) -> Termination | None:
    """Return how the trainer ended, or the whole pod if the trainer never ran; None before."""
    ended = _trainer_state(status).get("terminated")
    reason, message = text(status.get("reason")), text(status.get("message"))
    if isinstance(ended, dict):
        return Termination(
            exit_code=_exit_code(ended),
            reason=text(ended.get("reason")),
            last_word=read_object(text(ended.get("message"), _LONGEST_WORD)) or {},
            started=moment(ended.get("startedAt")),
            finished=moment(ended.get("finishedAt")),
            pod_reason=reason,
            pod_message=message,
        )
    if _phase(status) not in _ENDED:
        return None
    failed = _failed_init(status)
    name, cause = failed or ("", f"{reason or 'Failed'}: {message}")
    return Termination(None, cause, pod_reason=reason, pod_message=message, failed_init=name)


def _failed_init(status: Object) -> tuple[str, str] | None:
    """Return the name of the init container that failed, and the cause; None if none failed."""
    for each in mappings(status.get("initContainerStatuses")):
        name, ended = text(each.get("name")), mapping(mapping(each.get("state")).get("terminated"))
        if _has_failed(ended):
            return name, f"init container {name} failed{_exit(ended)}"
    return None


def _outlived(spec: Object, status: Object) -> bool:
    """Return whether another container than the trainer may still run; one without a status may."""
    if _phase(status) in _ENDED:
        return False
    sidecars = [c for c in mappings(spec.get("initContainers")) if c.get("restartPolicy") == "Always"]
    names = {text(c.get("name")) for c in (*mappings(spec.get("containers")), *sidecars)}
    statuses = mappings(status.get("containerStatuses")) + mappings(status.get("initContainerStatuses"))
    ended = {text(c.get("name")) for c in statuses if "terminated" in mapping(c.get("state"))}
    return not names <= ended | {words.TRAINER_CONTAINER}


def _claims(spec: Object) -> tuple[str, ...]:
    volumes = (mapping(volume.get("persistentVolumeClaim")) for volume in mappings(spec.get("volumes")))
    return tuple(sorted({name for volume in volumes if (name := text(volume.get("claimName")))}))
