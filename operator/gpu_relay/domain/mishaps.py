"""What the state of a training pod means: why it does not start, why it was taken away, and what to change.

The words on the left are Kubernetes' own: the reasons of the scheduler, the kubelet and the DisruptionTarget condition.
"""

from datetime import datetime, timedelta

from gpu_relay.api.words import Reason
from gpu_relay.domain.model import Termination, TrainingPod
from gpu_relay.domain.quantities import parse_time, timestamp

_WAITING = {
    "Unschedulable": Reason.UNSCHEDULABLE,
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "SignatureValidationFailed": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.CONTAINER_NOT_CREATED,
    "CreateContainerError": Reason.CONTAINER_NOT_CREATED,
    "RunContainerError": Reason.CONTAINER_NOT_CREATED,
}
_REMEDY = {
    Reason.UNSCHEDULABLE: "free what the scheduler misses on the GPU's node, or change spec.podTemplate (resources, "
    "nodeSelector, tolerations)",
    Reason.IMAGE_PULL_FAILED: "correct spec.podTemplate.image or imagePullSecrets (default: the operator's "
    "GPU_RELAY_TRAINER_IMAGE)",
    Reason.CONTAINER_NOT_CREATED: "correct what spec.podTemplate refers to (env, serviceAccountName) or its claims",
}
_SHUTDOWN = frozenset({"Terminated", "NodeShutdown"})
_TAKEN_AWAY = {
    "EvictionByEvictionAPI": "its node is being drained",
    "DeletionByTaintManager": "its node was tainted: not ready, or reserved for others",
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "TerminationByKubelet": "its node shut down",
}
_NODE_IS_GONE = "DeletionByPodGC"


def start_reason(pod: TrainingPod) -> Reason:
    """Return why a pod that waits does not start; PodNotStarted where nothing is known to be wrong."""
    return _WAITING.get(pod.waiting_reason, Reason.POD_NOT_STARTED)


def start_message(pod: TrainingPod) -> str:
    """Return what the scheduler or kubelet says of a pod that waits, and what to change."""
    remedy = _REMEDY.get(start_reason(pod))
    return f"{pod.name}: {pod.waiting}" + (f"; {remedy}" if remedy else "")


def is_start_failure(pod: TrainingPod) -> bool:
    """True where scheduler or kubelet have tried to start the pod and could not: only the GPU's node may have it."""
    return pod.waiting is not None and start_reason(pod) in _WAITING.values()


def killed_by(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return who ended a pod whose trainer did not end by itself; None where nobody is known to have."""
    if termination.reason == "OOMKilled":
        return Reason.OOM_KILLED, (
            "the container used more host memory than its limit; raise spec.podTemplate.resources.limits.memory, or "
            "lower training.args.workers or cache"
        )
    if termination.pod_reason == "Evicted":
        return Reason.EVICTED, (
            f"the kubelet evicted the pod: {termination.pod_message}; set "
            "spec.podTemplate.resources.requests to what the training uses"
        )
    if termination.pod_reason in _SHUTDOWN:
        return Reason.DISRUPTED, _disrupted("TerminationByKubelet")
    if pod.disruption == _NODE_IS_GONE or termination.pod_reason == "NodeLost":
        return Reason.NODE_LOST, f"node {pod.node} was lost, and the pod with it; goes on from its checkpoint elsewhere"
    if pod.disruption:
        return Reason.DISRUPTED, _disrupted(pod.disruption)
    if termination.exit_code is None:
        return Reason.POD_NOT_STARTED, f"node {pod.node} refused the pod: {termination.reason}"
    return None


def stuck_message(pod: TrainingPod, now: datetime, patience: float) -> str | None:
    """Say what helps a pod that is still there `patience` seconds after its grace period; None while it is in time."""
    if pod.delete_by is None or now <= parse_time(pod.delete_by) + timedelta(seconds=patience):
        return None
    return (
        f"{pod.name} was to end by {timestamp(parse_time(pod.delete_by))} and is still there, so the GPU stays "
        f"blocked: look at the kubelet of node {pod.node}; once its process is gone for certain, delete the pod with "
        "kubectl delete pod --force"
    )


def lost_node_message(pod: TrainingPod, trouble: str) -> str:
    """Say why a GPU on a lost node stays blocked, and what frees it (law 2: a pod that may run still owns it)."""
    return (
        f"{trouble.rstrip('.')}; {pod.name} may still run there, so its GPU is neither passed on nor loaded. If the "
        f"machine is down for certain, taint it (kubectl taint node {pod.node} "
        "node.kubernetes.io/out-of-service=down:NoExecute) or delete the Node"
    )


def disruption_message(pod: TrainingPod) -> str:
    """Say who takes a live pod away."""
    if pod.disruption:
        return f"{pod.name} stops: {_disrupted(pod.disruption)}"
    return f"{pod.name} was deleted by somebody else and stops; to stop a job, set spec.suspend or delete the job"


def _disrupted(reason: str) -> str:
    return f"{_TAKEN_AWAY.get(reason, reason)}; goes on from its checkpoint"
