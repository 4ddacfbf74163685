"""Training and preparing pods: what decisions know of them, and how they are read from the API server's objects.

The owner of a namespace may write labels and annotations on its pods, and its containers write their messages. So a
pod is read within bounds, nothing raises, and what is missing or out of range reads as unknown.
"""

from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from gpu_relay.domain.untrusted import digits, mapping, mappings, moment, read_object, text

Object = dict[str, Any]

QUIET_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of a container that waits while nothing is known to be wrong."""

_ENDED = frozenset({"Succeeded", "Failed"})

_LONGEST_WORD = 16_384
"""Characters of a last word; the kubelet reads 4,096 bytes of it, 12,288 in a pod."""

_UNKNOWN_AGE = "8999-01-01T00:00:00Z"
"""Creation of a pod whose creationTimestamp cannot be read: it is never overdue."""


@dataclass(frozen=True)
class Termination:
    """How a trainer ended: its container's exit and its last word (an empty dict where it left none).

    Where the pod has ended and its trainer never ran, there is no exit code, and the pod's own reason counts.
    """

    exit_code: int | None
    reason: str
    last_word: dict[str, Any] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    pod_reason: str = ""
    """Why the kubelet ended the pod as a whole, for example Evicted; empty where only its container ended."""
    pod_message: str = ""
    failed_init: str = ""
    """The init container whose failure kept the trainer from running, `reason` says how; empty where none did."""


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
    """Why the trainer does not run yet, in the scheduler's or kubelet's words; None once it runs."""
    termination: Termination | None
    """How the trainer ended, or the pod as a whole where the trainer never ran; None before."""
    outlived: bool = False
    """True where the trainer has ended and another container of the pod may still run: a sidecar."""
    waiting_reason: str = ""
    """The one word for `waiting`, as Kubernetes has it: Unschedulable, ErrImagePull, FailedMount, …"""
    waiting_on: str = ""
    """The init container that keeps the trainer from starting; empty where none is known to."""
    claims: tuple[str, ...] = ()
    """The PersistentVolumeClaims that it names."""
    node: str = ""
    disruption: str = ""
    """Why the cluster takes it away: the reason of its DisruptionTarget condition; empty where it does not."""
    delete_by: str | None = None
    """When a deletion's grace period ends; None while it is not being deleted, or where that is unknown."""
    proven_mib: int | None = None
    """Free MiB that were measured before it was created; None where it does not say."""

    @property
    def live(self) -> bool:
        """True while something of the pod may run, so that it holds its share of the GPU, whatever its trainer does.

        A deleted pod is live while it is listed as running.
        """
        return self.termination is None or self.outlived


@dataclass(frozen=True)
class _Wait:
    """Why a pod's trainer does not run yet: for people, in one word, and by which init container's fault."""

    message: str | None = None
    reason: str = ""
    container: str = ""


def training_pod_of(raw: Object) -> TrainingPod:
    """Read a training or preparing pod; labels that people have tampered with read as 0 and belong to no turn."""
    meta, spec, status = mapping(raw.get("metadata")), mapping(raw.get("spec")), mapping(raw.get("status"))
    labels, annotations = mapping(meta.get("labels")), mapping(meta.get("annotations"))
    wait, termination = _wait(spec, status), _termination(status)
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
    )


def _phase(status: Object) -> str:
    return text(status.get("phase")) or "Pending"


def _condition(status: Object, kind: str, value: str) -> Object:
    """Return a pod's condition of one type while it has this status; empty otherwise."""
    found = (c for c in mappings(status.get("conditions")) if c.get("type") == kind and c.get("status") == value)
    return next(found, {})


def _trainer_state(status: Object) -> Object:
    """Return the state of the trainer's container: its place among the others says nothing, they are sorted by name."""
    trainers = (c for c in mappings(status.get("containerStatuses")) if c.get("name") == words.TRAINER_CONTAINER)
    return mapping(next(trainers, {}).get("state"))


def _wait(spec: Object, status: Object) -> _Wait:
    """Say why the trainer does not run yet.

    A pod is Pending, too, while its trainer runs and a sidecar's image cannot be pulled.
    """
    state = _trainer_state(status)
    if _phase(status) != "Pending" or "running" in state or "terminated" in state:
        return _Wait()
    unscheduled = _condition(status, "PodScheduled", "False")
    if unscheduled:
        said = text(unscheduled.get("message")) or text(unscheduled.get("reason")) or "unknown"
        return _Wait(f"not scheduled: {said}", text(unscheduled.get("reason")))
    quiet = "its container is being created" if spec.get("nodeName") else "the scheduler has not placed it yet"
    return _init_wait(status) or _container_wait(mapping(state.get("waiting")), quiet)


def _init_wait(status: Object) -> _Wait | None:
    """Say which init container or native sidecar keeps the trainer from starting; None where none does."""
    for each in mappings(status.get("initContainerStatuses")):
        name, state = text(each.get("name")), mapping(each.get("state"))
        waiting, ended = mapping(state.get("waiting")), mapping(state.get("terminated"))
        if text(waiting.get("reason")) not in QUIET_WAITING:
            last = mapping(mapping(each.get("lastState")).get("terminated"))
            said = _container_wait(waiting, "").message
            return _Wait(f"init container {name}: {said}{_exit(last)}", text(waiting.get("reason")), name)
        if _has_failed(ended):
            return _Wait(f"init container {name} failed{_exit(ended)}", text(ended.get("reason")), name)
        if "running" in state and not each.get("started"):
            return _Wait(f"init container {name} runs", "PodInitializing")
    return None


def _container_wait(waiting: Object, quiet: str) -> _Wait:
    reason, message = text(waiting.get("reason")), text(waiting.get("message"))
    return _Wait(quiet if reason in QUIET_WAITING else f"{reason}: {message}", reason)


def _has_failed(ended: Object) -> bool:
    return bool(ended) and ended.get("exitCode") != 0


def _exit(ended: Object) -> str:
    """Say how a container ended, with the end of its message; empty where it has not."""
    if not ended:
        return ""
    message = text(ended.get("message")).strip()
    return f"; exit code {_exit_code(ended)} ({text(ended.get('reason'))})" + (f": {message}" if message else "")


def _exit_code(ended: Object) -> int | None:
    code = ended.get("exitCode")
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None


def _termination(status: Object) -> Termination | None:
    """Read how the trainer ended, or the pod as a whole where its trainer never ran."""
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
    name, said = failed or ("", f"{reason or 'Failed'}: {message}")
    return Termination(None, said, pod_reason=reason, pod_message=message, failed_init=name)


def _failed_init(status: Object) -> tuple[str, str] | None:
    """Return the name of the init container that failed, and how it did; None where none did."""
    for each in mappings(status.get("initContainerStatuses")):
        name, ended = text(each.get("name")), mapping(mapping(each.get("state")).get("terminated"))
        if _has_failed(ended):
            return name, f"init container {name} failed{_exit(ended)}"
    return None


def _outlived(spec: Object, status: Object) -> bool:
    """True where a container of a pod that has not ended may still run; one without a status may."""
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
