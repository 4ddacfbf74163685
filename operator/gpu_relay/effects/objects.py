"""Pods and nodes as dicts, read into what decisions need; jobs and Leases: `domain.reading`."""

from gpu_relay.api import words
from gpu_relay.domain.model import Termination, TrainingPod
from gpu_relay.effects.answers import read_object
from gpu_relay.effects.kube import Object

_QUIET_WAITING = frozenset({"ContainerCreating", "PodInitializing"})


def training_pod_of(raw: Object) -> TrainingPod:
    """Read a training pod; labels that people have tampered with read as 0 and belong to no turn."""
    meta, status = raw["metadata"], raw.get("status", {})
    labels = meta.get("labels", {})
    return TrainingPod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        job_uid=labels.get(words.LABEL_JOB_UID, ""),
        attempt=_number(labels.get(words.LABEL_ATTEMPT)),
        gpu=labels.get(words.LABEL_GPU, ""),
        fence=_number(labels.get(words.LABEL_FENCE)),
        phase=status.get("phase", "Pending"),
        ip=status.get("podIP"),
        deleting="deletionTimestamp" in meta,
        created=meta["creationTimestamp"],
        waiting=_waiting(status),
        termination=_termination(status),
        waiting_reason=_waiting_reason(status),
        node=raw.get("spec", {}).get("nodeName", ""),
        disruption=_disruption(status),
        delete_by=meta.get("deletionTimestamp"),
        coresident=labels.get(words.LABEL_SHARING) == words.CORESIDENT,
        proven_mib=_number(meta.get("annotations", {}).get(words.ANNOTATION_PROVEN_MIB)) or None,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _trainer(status: Object) -> Object:
    return next(iter(status.get("containerStatuses", [])), {})


def _waiting(status: Object) -> str | None:
    """Say why the pod does not run yet."""
    if status.get("phase", "Pending") != "Pending":
        return None
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {condition.get('message', condition.get('reason', 'unknown'))}"
    state = _trainer(status).get("state", {}).get("waiting", {})
    reason = state.get("reason", "ContainerCreating")
    return "its container is being created" if reason in _QUIET_WAITING else f"{reason}: {state.get('message', '')}"


def _waiting_reason(status: Object) -> str:
    """Return the one word for why the pod does not run yet; empty where it does."""
    if status.get("phase", "Pending") != "Pending":
        return ""
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason", ""))
    return str(_trainer(status).get("state", {}).get("waiting", {}).get("reason", ""))


def _disruption(status: Object) -> str:
    """Return why the cluster takes the pod away, as its DisruptionTarget condition says."""
    for condition in status.get("conditions", []):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return str(condition.get("reason", ""))
    return ""


def node_trouble(raw: Object) -> str:
    """Say why a node cannot be relied upon to tell the truth about its pods; empty where it can."""
    name, conditions = raw["metadata"]["name"], raw.get("status", {}).get("conditions", [])
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None or ready["status"] == "True":
        return ""
    since, said = ready.get("lastTransitionTime", "?"), ready.get("message", "") or ready.get("reason", "")
    return f"node {name} has not been ready since {since}: {said}"


def _termination(status: Object) -> Termination | None:
    """Read how the pod ended: its container's state, or the pod's own reason where no container ever ran."""
    ended = _trainer(status).get("state", {}).get("terminated")
    if ended is not None:
        return Termination(
            exit_code=ended.get("exitCode"),
            reason=ended.get("reason", ""),
            last_word=read_object(ended.get("message", "")) or {},
            started=ended.get("startedAt"),
            finished=ended.get("finishedAt"),
            pod_reason=status.get("reason", ""),
            pod_message=status.get("message", ""),
        )
    if status.get("phase") in {"Succeeded", "Failed"}:
        reason, message = status.get("reason", ""), status.get("message", "")
        return Termination(None, f"{reason or 'Failed'}: {message}", pod_reason=reason, pod_message=message)
    return None
