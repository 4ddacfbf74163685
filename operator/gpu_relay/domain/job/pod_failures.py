"""What the state of a training pod means: why it does not start, why it was taken away, and what to change.

The words on the left are Kubernetes' own: the reasons of the scheduler, the kubelet and the DisruptionTarget condition.
"""

import re
from datetime import datetime, timedelta

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.quantities import parse_time, timestamp

VOLUME_WORDS = frozenset(
    {
        "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedMountOnFilesystemMismatch", "FailedBinding",
        "ProvisioningFailed",
    }
)  # fmt: skip
"""Reasons of Events of a pod, or of its claims, for a volume that is not there."""
POD_WORDS = frozenset(
    {"FailedCreatePodSandBox", "FailedCreatePodContainer", "FailedPrepareDynamicResources", "NetworkNotReady"}
)
"""Reasons of a pod's Events for what the kubelet cannot make before the pod's containers."""

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
    **dict.fromkeys(VOLUME_WORDS, Reason.VOLUME_NOT_MOUNTED),
    **dict.fromkeys(POD_WORDS, Reason.CONTAINER_NOT_CREATED),
}
_REMEDY = {
    Reason.UNSCHEDULABLE: "free what the scheduler misses on the GPU's node, or change spec.podTemplate (resources, "
    "nodeSelector, tolerations)",
    Reason.IMAGE_PULL_FAILED: "correct spec.podTemplate.image or imagePullSecrets (default: the operator's "
    "GPU_RELAY_TRAINER_IMAGE)",
    Reason.CONTAINER_NOT_CREATED: "correct what spec.podTemplate refers to (env, serviceAccountName) or its claims",
    Reason.VOLUME_NOT_MOUNTED: "correct the PersistentVolumeClaim in spec.dataset or spec.output, its storage, or the "
    "volumes of the operator's trainer-pod-template",
}
_NODE_REMEDY = "look at the container runtime, the network plugin and the device drivers of node {node}"
_INIT_REMEDY = (
    "container {container} is not part of the job: correct it in the operator's trainer-pod-template, or in the "
    "admission webhook that adds it"
)
_CLAIM_MISSING = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_SECRET_MISSING = re.compile(r'secret "([^"]+)" not found')
_MISSED = (
    (r"unbound immediate PersistentVolumeClaims", "a claim in spec.dataset or spec.output has no volume yet: kubectl "
     "describe pvc says why; correct its storageClassName, or create a PersistentVolume"),
    (r"non-existent (persistentvolume|pv)", "create the claim again: its PersistentVolume no longer exists"),
    (r"is being deleted", "create the claim again, or name another in spec.dataset or spec.output"),
    (r"volume node affinity conflict|no available volume zone", "the claim's volume cannot be reached from the GPU's "
     "node: use storage that can"),
    (r"find available persistent volumes", "create a PersistentVolume for the claim that the GPU's node can reach"),
    (r"ReadWriteOncePod", "end the pod that uses the claim, or use one with access mode ReadWriteMany"),
    (r"Insufficient nvidia\.com/", "no share of the GPU is free on its node: end the pods that hold one, or raise the "
     "replicas of the NVIDIA device plugin's time-slicing"),
    (r"cannot allocate all claims", "no device is free for the ResourceClaim on the GPU's node: end the pods that hold "
     "one"),
    (r"Too many pods", "the GPU's node runs as many pods as it may: move some to other nodes"),
    (r"Insufficient (?!nvidia\.com/)", "free CPU and memory on the GPU's node, or change spec.podTemplate.resources"),
)  # fmt: skip
"""What the scheduler misses, in its words, and what to change; each that it names counts."""
_MISSED_ELSEWHERE = (
    (r"untolerated taint", "add the taint to spec.podTemplate.tolerations, as far as the namespace may, or remove it "
     "from the GPU's node"),
    (r"were unschedulable", "the GPU's node is cordoned: kubectl uncordon it"),
    (r"node affinity/selector", "change spec.podTemplate.nodeSelector so that it fits the GPU's node"),
)  # fmt: skip
"""The same of what the scheduler says of any other node, too; it counts where it says nothing else."""
_SHUTDOWN = frozenset({"Terminated", "NodeShutdown"})
_REFUSALS = frozenset(
    {
        "UnexpectedAdmissionError", "TopologyAffinityError", "SMTAlignmentError", "NodeAffinity", "NodeName",
        "NodePorts", "TaintToleration", "VolumeAttachmentLimitExceeded", "InvalidNodeInfo", "UnknownReason",
        "UnexpectedPredicateFailureType",
    }
)  # fmt: skip
"""Reasons with which a kubelet does not admit a pod; so does each that begins with OutOf, and newer kubelets say so."""
_TAKEN_AWAY = {
    "EvictionByEvictionAPI": "its node is being drained",
    "DeletionByTaintManager": "its node was tainted: not ready, or reserved for others",
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "TerminationByKubelet": "its node shut down",
}
_NODE_IS_GONE = "DeletionByPodGC"


def start_reason(pod: TrainingPod) -> Reason:
    """Return why a pod that waits does not start; PodNotStarted where nothing is known to be wrong."""
    unnamed = Reason.INIT_CONTAINER_FAILED if pod.waiting_on else Reason.POD_NOT_STARTED
    return _WAITING.get(pod.waiting_reason, unnamed)


def start_message(pod: TrainingPod) -> str:
    """Return what the scheduler or kubelet says of a pod that waits, and what to change."""
    missing = _CLAIM_MISSING.search(pod.waiting or "") if start_reason(pod) == Reason.UNSCHEDULABLE else None
    if missing is not None:
        return f"{pod.name}: PersistentVolumeClaim {missing[1]} does not exist in namespace {pod.namespace}: create it"
    remedy = _remedy(pod)
    return f"{pod.name}: {pod.waiting}" + (f"; {remedy}" if remedy else "")


def _remedy(pod: TrainingPod) -> str | None:
    """Return what to change for a pod that waits; None where nothing is known to be wrong."""
    reason = start_reason(pod)
    if pod.waiting_on:
        return _INIT_REMEDY.format(container=pod.waiting_on)
    if pod.waiting_reason in POD_WORDS:
        return _NODE_REMEDY.format(node=pod.node)
    secret = _SECRET_MISSING.search(pod.waiting or "") if reason == Reason.CONTAINER_NOT_CREATED else None
    if secret is not None:
        return (
            f"create Secret {secret[1]} in namespace {pod.namespace}, or correct what spec.tracking.secretName or "
            "spec.podTemplate refers to"
        )
    if reason == Reason.UNSCHEDULABLE:
        said = pod.waiting or ""
        known = [remedy for missed, remedy in _MISSED if re.search(missed, said)]
        known = known or [remedy for missed, remedy in _MISSED_ELSEWHERE if re.search(missed, said)]
        return "; ".join(known) or _REMEDY[reason]
    return _REMEDY.get(reason)


def is_start_failure(pod: TrainingPod) -> bool:
    """True where scheduler or kubelet have tried to start the pod and could not: only the GPU's node may have it."""
    return pod.waiting is not None and start_reason(pod) != Reason.POD_NOT_STARTED


def killed_by(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return who ended a pod whose trainer did not end by itself; None where nothing is known to have."""
    if termination.reason == "OOMKilled":
        return Reason.OOM_KILLED, (
            "the container used more host memory than its limit; raise spec.podTemplate.resources.limits.memory, or "
            "lower training.args.workers or cache"
        )
    if termination.pod_reason in _SHUTDOWN:
        return Reason.DISRUPTED, _disrupted("TerminationByKubelet")
    if _was_refused(termination):
        return Reason.NODE_REFUSED_POD, (
            f"the kubelet of node {pod.node} refused the pod: {termination.reason}; if the next attempt ends so, too, "
            "look at the devices and the free resources of that node"
        )
    if termination.pod_reason == "Evicted":
        return Reason.EVICTED, (
            f"the kubelet evicted the pod: {termination.pod_message}; set "
            "spec.podTemplate.resources.requests to what the training uses"
        )
    return _lost_place(pod, termination) or _never_ran(pod, termination)


def _was_refused(termination: Termination) -> bool:
    """True where the kubelet has not admitted the pod: none of its containers has run."""
    if termination.exit_code is not None:
        return False
    named = termination.pod_reason in _REFUSALS or termination.pod_reason.startswith("OutOf")
    return named or termination.pod_message.startswith("Pod was rejected")


def _lost_place(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return which event of the cluster took the pod away; None where none did."""
    if pod.disruption == _NODE_IS_GONE or termination.pod_reason == "NodeLost":
        return Reason.NODE_LOST, f"node {pod.node} was lost, and the pod with it; goes on from its checkpoint elsewhere"
    if pod.disruption:
        return Reason.DISRUPTED, _disrupted(pod.disruption)
    return None


def _never_ran(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return why the trainer of a pod that has ended never ran; None where it did."""
    if termination.failed_init:
        remedy = _INIT_REMEDY.format(container=termination.failed_init)
        return Reason.INIT_CONTAINER_FAILED, f"{termination.reason}; {remedy}"
    if termination.exit_code is None:
        return Reason.POD_NOT_STARTED, f"the pod ended on node {pod.node} before it started: {termination.reason}"
    return None


def stuck_message(pod: TrainingPod, now: datetime, patience: float, *, blocked: str = "GPU") -> str | None:
    """Say what helps a pod that is still there `patience` seconds after its grace period; None while it is in time.

    `blocked` is what waits for its end.
    """
    if pod.delete_by is None or now <= parse_time(pod.delete_by) + timedelta(seconds=patience):
        return None
    return (
        f"{pod.name} was to end by {timestamp(parse_time(pod.delete_by))} and is still there, so the {blocked} stays "
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
