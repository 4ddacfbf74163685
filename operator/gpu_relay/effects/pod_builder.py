"""The training pod of an attempt, as data: the operator's defaults, the job's podTemplate, what the relay needs."""

import copy
import json
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import ClaimSource
from gpu_relay.domain.model import GpuLease, Job, Resident
from gpu_relay.domain.outcome import OUTPUT_MOUNT
from gpu_relay.domain.steps import CreatePod
from gpu_relay.effects.kube import Object

_JOB_DIR = "/etc/gpu-relay"
_DATA = "/data"
_CONTAINER = "trainer"
_CLAIM = "gpu"
_USER = 65532


@dataclass(frozen=True)
class TrainerDefaults:
    """What every training pod gets. `template` is a partial PodTemplateSpec from the operator's configuration."""

    image: str
    gpu_resource: str
    hold_ttl: float
    resource_claim: str = ""
    grace_period: int = 60
    template: dict[str, Any] = field(default_factory=dict)


def training_pod(
    job: Job, lease: GpuLease, resident: Resident | None, step: CreatePod, defaults: TrainerDefaults
) -> Object:
    """Build the pod `<job>-<attempt>`, pinned to the GPU's node and owned by its job."""
    template = copy.deepcopy(defaults.template)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, lease, resident, step, defaults, template.get("metadata", {})),
        "spec": _spec(job, resident, defaults, template.get("spec", {})),
    }


def job_file(job: Job, lease: GpuLease, resident: Resident | None, step: CreatePod, hold_ttl: float) -> dict[str, Any]:
    """Return the trainer's job file (docs/contracts.md)."""
    training = job.spec.training
    hold = None
    if resident is not None and not step.coresident:
        hold = {"url": resident.url, "fence": lease.fence, "renewKey": lease.renew_key, "ttlSeconds": hold_ttl}
    report = resident.report if resident else None
    return {
        "job": {"namespace": job.key.namespace, "name": job.key.name, "uid": job.key.uid},
        "attempt": step.attempt,
        "model": job.spec.model,
        "task": job.spec.task,
        "dataset": _dataset(job),
        "training": {**training.model_dump(by_alias=True), "batch": step.batch},
        "output": {
            "path": _inside(OUTPUT_MOUNT, job.spec.output.path or job.key.name),
            "uri": job.spec.output.uri,
            "export": job.spec.output.export,
        },
        "gpu": {"uuid": report.uuid if report else None, "memoryMiB": job.need_mib},
        "hold": hold,
    }


def _metadata(
    job: Job,
    lease: GpuLease,
    resident: Resident | None,
    step: CreatePod,
    defaults: TrainerDefaults,
    template: dict[str, Any],
) -> Object:
    contents = job_file(job, lease, resident, step, defaults.hold_ttl)
    return {
        "name": f"{job.key.name}-{step.attempt}",
        "namespace": job.key.namespace,
        "labels": {
            **template.get("labels", {}),
            "app.kubernetes.io/name": "yolo-trainer",
            "app.kubernetes.io/managed-by": "gpu-relay",
            words.LABEL_JOB: job.key.name,
            words.LABEL_JOB_UID: job.key.uid,
            words.LABEL_ATTEMPT: str(step.attempt),
            words.LABEL_GPU: lease.gpu,
            words.LABEL_FENCE: str(lease.fence),
            **({words.LABEL_SHARING: words.CORESIDENT} if step.coresident else {}),
        },
        "annotations": {
            **template.get("annotations", {}),
            words.ANNOTATION_JOB_FILE: json.dumps(contents, ensure_ascii=False),
        },
        "ownerReferences": [
            {
                "apiVersion": words.API_VERSION,
                "kind": words.KIND,
                "name": job.key.name,
                "uid": job.key.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _spec(job: Job, resident: Resident | None, defaults: TrainerDefaults, base: dict[str, Any]) -> Object:
    wanted = job.spec.pod_template
    containers = base.pop("containers", [])
    given: dict[str, Any] = next((c for c in containers if c.get("name") == _CONTAINER), {})
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": defaults.grace_period,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **base,
        "containers": [
            _container(job, resident, defaults, given),
            *(c for c in containers if c.get("name") != _CONTAINER),
        ],
        "volumes": [*base.get("volumes", []), *_volumes(job)],
    }
    for name, value in (
        ("nodeSelector", wanted.node_selector or None),
        ("tolerations", wanted.tolerations),
        ("imagePullSecrets", wanted.image_pull_secrets),
        ("serviceAccountName", wanted.service_account_name),
    ):
        if value is not None:
            spec[name] = value
    claim = _claim(job, defaults)
    if claim:
        spec["resourceClaims"] = [*base.get("resourceClaims", []), {"name": _CLAIM, "resourceClaimName": claim}]
    if resident is not None:
        spec["affinity"] = _pinned_to(resident.node)
    return spec


def _claim(job: Job, defaults: TrainerDefaults) -> str:
    return job.spec.gpu.resource_claim_name or defaults.resource_claim


def _resources(job: Job, defaults: TrainerDefaults, given: dict[str, Any]) -> Object:
    """Add the GPU: a share in the claim, or one of the extended resource."""
    resources: Object = copy.deepcopy(job.spec.pod_template.resources or given.get("resources", {}))
    if _claim(job, defaults):
        resources.setdefault("claims", []).append({"name": _CLAIM})
    elif defaults.gpu_resource:
        resources.setdefault("limits", {})[defaults.gpu_resource] = "1"
    return resources


def _visible_device(job: Job, resident: Resident | None, defaults: TrainerDefaults) -> list[Object]:
    """Where neither claim nor extended resource makes the GPU visible, NVIDIA's container runtime does by this."""
    if _claim(job, defaults) or defaults.gpu_resource or resident is None or resident.report is None:
        return []
    return [{"name": "NVIDIA_VISIBLE_DEVICES", "value": resident.report.uuid}]


def _container(job: Job, resident: Resident | None, defaults: TrainerDefaults, given: dict[str, Any]) -> Object:
    wanted = job.spec.pod_template
    container: Object = {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "imagePullPolicy": "IfNotPresent",
        **given,
        "name": _CONTAINER,
        "image": wanted.image or defaults.image,
        "args": ["run"],
        "env": [
            *_visible_device(job, resident, defaults),
            *given.get("env", []),
            *(wanted.env or []),
            {"name": "GPU_RELAY_JOB_FILE", "value": f"{_JOB_DIR}/job.json"},
        ],
        "ports": [{"name": "progress", "containerPort": 8080}],
        "resources": _resources(job, defaults, given),
        "volumeMounts": [*given.get("volumeMounts", []), *_mounts(job)],
    }
    if wanted.image_pull_policy is not None:
        container["imagePullPolicy"] = wanted.image_pull_policy
    return container


def _volumes(job: Job) -> list[Object]:
    annotation = f"metadata.annotations['{words.ANNOTATION_JOB_FILE}']"
    data, output = job.spec.dataset.persistent_volume_claim, job.spec.output.persistent_volume_claim
    return [
        {"name": "job", "downwardAPI": {"items": [{"path": "job.json", "fieldRef": {"fieldPath": annotation}}]}},
        *([] if data is None else [_claim_volume("data", data)]),
        *([] if _shares_volume(job) else [_claim_volume("output", output)]),
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]


def _claim_volume(name: str, claim: ClaimSource | None) -> Object:
    """Return a volume of a claim; results that go to a URI only are made on the node's disk."""
    if claim is None:
        return {"name": name, "emptyDir": {}}
    return {"name": name, "persistentVolumeClaim": {"claimName": claim.claim_name}}


def _shares_volume(job: Job) -> bool:
    """One claim may hold data and results; a pod must not name it twice."""
    data = job.spec.dataset.persistent_volume_claim
    return data is not None and data == job.spec.output.persistent_volume_claim


def _mounts(job: Job) -> list[Object]:
    return [
        {"name": "job", "mountPath": _JOB_DIR, "readOnly": True},
        *([{"name": "data", "mountPath": _DATA, "readOnly": True}] if job.spec.dataset.persistent_volume_claim else []),
        {"name": "data" if _shares_volume(job) else "output", "mountPath": OUTPUT_MOUNT},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]


def _pinned_to(node: str) -> Object:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _dataset(job: Job) -> Object:
    dataset = job.spec.dataset
    if dataset.uri is None:
        return {"path": _inside(_DATA, dataset.path)}
    return {"uri": dataset.uri, "sha256": dataset.sha256, "path": dataset.path or None}


def _inside(root: str, path: str) -> str:
    return f"{root}/{path}".rstrip("/")
