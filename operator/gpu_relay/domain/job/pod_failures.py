"""What the state of a training pod means: why it does not start, why it was taken away, and what to change.

The keys are Kubernetes' own: reasons of the scheduler, the kubelet and the DisruptionTarget condition.
"""

import re
from datetime import datetime, timedelta

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.pod import Termination, TrainingPod
from gpu_relay.domain.quantities import parse_time, timestamp

VOLUME_FAILURE_REASONS = frozenset(
    {
        "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedMountOnFilesystemMismatch", "FailedBinding",
        "ProvisioningFailed",
    }
)  # fmt: skip
"""Reasons of the Events of a pod or of its PVCs for a volume that is not available."""
POD_FAILURE_REASONS = frozenset(
    {"FailedCreatePodSandBox", "FailedCreatePodContainer", "FailedPrepareDynamicResources", "NetworkNotReady"}
)
"""Reasons of the Events of a pod for what the kubelet cannot create before the pod's containers."""

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
    **dict.fromkeys(VOLUME_FAILURE_REASONS, Reason.VOLUME_NOT_MOUNTED),
    **dict.fromkeys(POD_FAILURE_REASONS, Reason.CONTAINER_NOT_CREATED),
}
_REMEDY = {
    Reason.UNSCHEDULABLE: "free what the scheduler lacks on the GPU's node, or change spec.podTemplate (resources, "
    "nodeSelector, tolerations)",
    Reason.IMAGE_PULL_FAILED: "correct spec.podTemplate.image or imagePullSecrets (default: the operator's "
    "GPU_RELAY_TRAINER_IMAGE)",
    Reason.CONTAINER_NOT_CREATED: "correct what spec.podTemplate refers to (env, serviceAccountName) or its PVCs",
    Reason.VOLUME_NOT_MOUNTED: "correct the PersistentVolumeClaim in spec.dataset or spec.output, its storage, or the "
    "volumes of the operator's trainer-pod-template",
}
_NODE_REMEDY = "check the container runtime, the network plugin and the device drivers of node {node}"
_INIT_REMEDY = (
    "container {container} is not part of the job: correct it in the operator's trainer-pod-template, or in the "
    "admission webhook that adds it"
)
_CLAIM_MISSING = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_SECRET_MISSING = re.compile(r'secret "([^"]+)" not found')
_MISSING = (
    (r"unbound immediate PersistentVolumeClaims", "a PVC in spec.dataset or spec.output has no volume yet: kubectl "
     "describe pvc says why; correct its storageClassName, or create a PersistentVolume"),
    (r"non-existent (persistentvolume|pv)", "create the PVC again: its PersistentVolume no longer exists"),
    (r"is being deleted", "create the PVC again, or name another in spec.dataset or spec.output"),
    (r"volume node affinity conflict|no available volume zone", "the PVC's volume cannot be reached from the GPU's "
     "node: use storage that can"),
    (r"find available persistent volumes", "create a PersistentVolume for the PVC that the GPU's node can reach"),
    (r"ReadWriteOncePod", "end the pod that uses the PVC, or use one with access mode ReadWriteMany"),
    (r"Insufficient nvidia\.com/", "no share of the GPU is free on its node: end the pods that hold one, or raise the "
     "replicas of the NVIDIA device plugin's time-slicing"),
    (r"cannot allocate all claims", "no device is free for the ResourceClaim on the GPU's node: end the pods that hold "
     "one"),
    (r"Too many pods", "the GPU's node runs as many pods as it may: move some to other nodes"),
    (r"Insufficient (?!nvidia\.com/)", "free CPU and memory on the GPU's node, or change spec.podTemplate.resources"),
)  # fmt: skip
"""What the scheduler lacks, by its message, and what to change; every match counts."""
_MISSING_ELSEWHERE = (
    (r"untolerated taint", "add the taint to spec.podTemplate.tolerations, as far as the namespace may, or remove it "
     "from the GPU's node"),
    (r"were unschedulable", "the GPU's node is cordoned: kubectl uncordon it"),
    (r"node affinity/selector", "change spec.podTemplate.nodeSelector so that it fits the GPU's node"),
)  # fmt: skip
"""The same for what the scheduler reports of other nodes, too; it counts if nothing else matches."""
_SHUTDOWN = frozenset({"Terminated", "NodeShutdown"})
_REFUSALS = frozenset(
    {
        "UnexpectedAdmissionError", "TopologyAffinityError", "SMTAlignmentError", "NodeAffinity", "NodeName",
        "NodePorts", "TaintToleration", "VolumeAttachmentLimitExceeded", "InvalidNodeInfo", "UnknownReason",
        "UnexpectedPredicateFailureType",
    }
)  # fmt: skip
"""Reasons for which a kubelet does not admit a pod; those that begin with OutOf belong to them."""
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "its node is being drained",
    "DeletionByTaintManager": "its node was tainted: not ready, or reserved for others",
    "PreemptionByScheduler": "a pod of higher priority needed its place",
    "TerminationByKubelet": "its node shut down",
}
_NODE_IS_GONE = "DeletionByPodGC"


def start_reason(pod: TrainingPod) -> Reason:
    """Return why a waiting pod does not start; PodNotStarted if no problem is known."""
    unnamed = Reason.INIT_CONTAINER_FAILED if pod.waiting_on else Reason.POD_NOT_STARTED
    return _WAITING.get(pod.waiting_reason, unnamed)


def start_message(pod: TrainingPod) -> str:
    """Return what the scheduler or kubelet reports of a waiting pod, and what to change."""
    missing = _CLAIM_MISSING.search(pod.waiting or "") if start_reason(pod) == Reason.UNSCHEDULABLE else None
    if missing is not None:
        return f"{pod.name}: PersistentVolumeClaim {missing[1]} does not exist in namespace {pod.namespace}: create it"
    remedy = _remedy(pod)
    return f"{pod.name}: {pod.waiting}" + (f"; {remedy}" if remedy else "")


def _remedy(pod: TrainingPod) -> str | None:
    """Return what to change for a waiting pod; None if no problem is known."""
    reason = start_reason(pod)
    if pod.waiting_on:
        return _INIT_REMEDY.format(container=pod.waiting_on)
    if pod.waiting_reason in POD_FAILURE_REASONS:
        return _NODE_REMEDY.format(node=pod.node)
    secret = _SECRET_MISSING.search(pod.waiting or "") if reason == Reason.CONTAINER_NOT_CREATED else None
    if secret is not None:
        return (
            f"create Secret {secret[1]} in namespace {pod.namespace}, or correct what spec.tracking.secretName or "
            "spec.podTemplate refers to"
        )
    if reason == Reason.UNSCHEDULABLE:
        message = pod.waiting or ""
        known = [remedy for pattern, remedy in _MISSING if re.search(pattern, message)]
        known = known or [remedy for pattern, remedy in _MISSING_ELSEWHERE if re.search(pattern, message)]
        return "; ".join(known) or _REMEDY[reason]
    return _REMEDY.get(reason)


def is_start_failure(pod: TrainingPod) -> bool:
    """True if the scheduler or kubelet could not start the pod, which can run on the GPU's node only."""
    return pod.waiting is not None and start_reason(pod) != Reason.POD_NOT_STARTED


def killed_by(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return why a pod was ended from outside; None if that is not known."""
    if termination.reason == "OOMKilled":
        return Reason.OOM_KILLED, (
            "the container used more host memory than its limit; raise spec.podTemplate.resources.limits.memory, or "
            "lower training.args.workers or cache"
        )
    if termination.pod_reason in _SHUTDOWN:
        return Reason.DISRUPTED, _disrupted("TerminationByKubelet")
    if _was_refused(termination):
        return Reason.NODE_REFUSED_POD, (
            f"the kubelet of node {pod.node} refused the pod: {termination.reason}; if that repeats, "
            "check the devices and the free resources of that node"
        )
    if termination.pod_reason == "Evicted":
        return Reason.EVICTED, (
            f"the kubelet evicted the pod: {termination.pod_message}; set "
            "spec.podTemplate.resources.requests to what the training uses"
        )
    return _lost_place(pod, termination) or _never_ran(pod, termination)


def _was_refused(termination: Termination) -> bool:
    """True if the kubelet has not admitted the pod: none of its containers has run."""
    if termination.exit_code is not None:
        return False
    named = termination.pod_reason in _REFUSALS or termination.pod_reason.startswith("OutOf")
    return named or termination.pod_message.startswith("Pod was rejected")


def _lost_place(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return how the cluster removed the pod; None if it did not."""
    if pod.disruption == _NODE_IS_GONE or termination.pod_reason == "NodeLost":
        return (
            Reason.NODE_LOST,
            f"node {pod.node} was lost with the pod; resumes from its checkpoint on another node",
        )
    if pod.disruption:
        return Reason.DISRUPTED, _disrupted(pod.disruption)
    return None


def _never_ran(pod: TrainingPod, termination: Termination) -> tuple[Reason, str] | None:
    """Return why the trainer of an ended pod never ran; None if it did."""
    if termination.failed_init:
        remedy = _INIT_REMEDY.format(container=termination.failed_init)
        return Reason.INIT_CONTAINER_FAILED, f"{termination.reason}; {remedy}"
    if termination.exit_code is None:
        return Reason.POD_NOT_STARTED, f"the pod ended on node {pod.node} before it started: {termination.reason}"
    return None


def stuck_message(pod: TrainingPod, now: datetime, stuck_after: float, *, blocked: str = "GPU") -> str | None:
    """Return what to do about a pod that exists `stuck_after` seconds after its grace period; None before.

    `blocked` is what waits for its end.
    """
    if pod.delete_by is None or now <= parse_time(pod.delete_by) + timedelta(seconds=stuck_after):
        return None
    return (
        f"{pod.name} should have ended by {timestamp(parse_time(pod.delete_by))} and still exists, so the {blocked} "
        f"stays blocked: check the kubelet of node {pod.node}; once its process has certainly ended, delete the pod "
        "with kubectl delete pod --force"
    )


def lost_node_message(pod: TrainingPod, trouble: str) -> str:
    """Return why a GPU on a lost node stays blocked, and what frees it (law 2: a pod that may run owns it)."""
    return (
        f"{trouble.rstrip('.')}; {pod.name} may still run there, so its GPU is not released. If the "
        f"machine is certainly down, taint it (kubectl taint node {pod.node} "
        "node.kubernetes.io/out-of-service=down:NoExecute) or delete the Node"
    )


def disruption_message(pod: TrainingPod) -> str:
    """Return why a live pod is removed."""
    if pod.disruption:
        return f"{pod.name} stops: {_disrupted(pod.disruption)}"
    return f"{pod.name} was deleted by another client and stops; to stop a job, set spec.suspend or delete the job"


def _disrupted(reason: str) -> str:
    return f"{_DISRUPTIONS.get(reason, reason)}; resumes from its checkpoint"
