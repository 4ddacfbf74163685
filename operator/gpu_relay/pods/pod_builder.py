"""The pods of a job, as data: the operator's defaults, the job's podTemplate, what the relay needs.

A *training pod* is one attempt on a GPU. A *preparing pod* fetches and checks the data beforehand, without one.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gpu_relay.api import words
from gpu_relay.api.schema import ApiType
from gpu_relay.api.v1alpha1 import ClaimSource
from gpu_relay.clients.kube import Object
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.attempts import OUTPUT_MOUNT
from gpu_relay.domain.job.preparation import pod_name
from gpu_relay.domain.objects.job import Grant, Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods import pod_resources
from gpu_relay.pods.job_file import DATA_MOUNT, JOB_DIR, TRACKING_PREFIX, preparing_file, training_file

_CONTAINER = words.TRAINER_CONTAINER
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
    preparation_timeout: int = 21600
    """Seconds that a preparing pod may run."""
    template: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Role:
    """What tells the two kinds of pods apart."""

    name: str
    command: Literal["run", "prepare"]
    labels: dict[str, str]
    file: dict[str, Any]
    resources: Object
    env: list[Object]
    claim: str = ""
    affinity: Object | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    time_limit: int | None = None
    """Seconds after which the kubelet stops the pod; None sets no limit."""


def training_pod(
    job: Job, lease: GpuLease, resident: Resident | None, step: CreatePod, defaults: TrainerDefaults
) -> Object:
    """Build the pod `<job>-<attempt>`, pinned to the GPU's node and owned by its job."""
    role = _Role(
        name=f"{job.key.name}-{step.attempt}",
        command="run",
        labels={
            words.LABEL_ATTEMPT: str(step.attempt),
            words.LABEL_GPU: lease.gpu,
            words.LABEL_FENCE: str(lease.fence),
            **({words.LABEL_SHARING: words.CORESIDENT} if step.coresident else {}),
        },
        file=training_file(job, lease, resident, step, defaults.hold_ttl),
        resources=_with_gpu(_resources(job, defaults), job, defaults),
        env=_visible_device(job, resident, defaults),
        claim=_claim(job, defaults),
        affinity=None if resident is None else _requiring((resident.node,)),
        annotations={} if step.proven_mib is None else {words.ANNOTATION_PROVEN_MIB: str(step.proven_mib)},
    )
    return _pod(job, role, defaults)


def requested_pod(job: Job, defaults: TrainerDefaults) -> Object:
    """Build what is known of a job's training pod before it has a turn: what it will ask for."""
    role = _Role(
        name=job.key.name,
        command="run",
        labels={},
        file={},
        resources=_with_gpu(_resources(job, defaults), job, defaults),
        env=[],
        claim=_claim(job, defaults),
    )
    return _pod(replace(job, grant=Grant()), role, defaults)


def preparing_pod(job: Job, number: int, place: Place, defaults: TrainerDefaults) -> Object:
    """Build the pod `<job>-<number>-prepare`: no GPU, but on a node that has one, preferably or by all means.

    There it leaves the trainer's image, which a training pod would else pull while the resident is out.
    """
    role = _Role(
        name=pod_name(job, number),
        command="prepare",
        labels={words.LABEL_PREPARATION: str(number)},
        file=preparing_file(job),
        resources=_without_gpu(_resources(job, defaults), defaults),
        env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
        affinity=_affinity(place),
        time_limit=defaults.preparation_timeout,
    )
    return _pod(job, role, defaults)


def _pod(job: Job, role: _Role, defaults: TrainerDefaults) -> Object:
    template = copy.deepcopy(defaults.template)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(job, role, template.get("metadata", {})),
        "spec": _spec(job, role, defaults, template.get("spec", {})),
    }


def _metadata(job: Job, role: _Role, template: dict[str, Any]) -> Object:
    return {
        "name": role.name,
        "namespace": job.key.namespace,
        "labels": {
            **template.get("labels", {}),
            "app.kubernetes.io/name": "yolo-trainer",
            "app.kubernetes.io/managed-by": "gpu-relay",
            words.LABEL_JOB: job.key.name,
            words.LABEL_JOB_UID: job.key.uid,
            **role.labels,
        },
        "annotations": {
            **template.get("annotations", {}),
            words.ANNOTATION_JOB_FILE: json.dumps(role.file, ensure_ascii=False),
            **role.annotations,
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


def _spec(job: Job, role: _Role, defaults: TrainerDefaults, base: dict[str, Any]) -> Object:
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
            _container(job, role, defaults, given),
            *(c for c in containers if c.get("name") != _CONTAINER),
        ],
        "volumes": [*base.get("volumes", []), *_volumes(job)],
    }
    if job.node_selector:
        spec["nodeSelector"] = {**job.node_selector, **base.get("nodeSelector", {})}  # a job cannot leave the site's
    added: dict[str, list[Object]] = {
        "tolerations": [*map(_plain, wanted.tolerations or []), *map(dict, job.grant.tolerations)],
        "imagePullSecrets": [*map(_plain, wanted.image_pull_secrets or [])],
    }
    spec |= {name: [*base.get(name, []), *items] for name, items in added.items() if items}
    if wanted.service_account_name is not None:
        spec["serviceAccountName"] = wanted.service_account_name
    if role.affinity is not None:
        spec["affinity"] = role.affinity
    if role.time_limit is not None:
        spec["activeDeadlineSeconds"] = role.time_limit
    if role.claim:
        spec["resourceClaims"] = [*base.get("resourceClaims", []), {"name": _CLAIM, "resourceClaimName": role.claim}]
    return spec


def _container(job: Job, role: _Role, defaults: TrainerDefaults, given: dict[str, Any]) -> Object:
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
        "args": [role.command],
        "env": [
            *given.get("env", []),
            *map(_plain, wanted.env or []),
            *role.env,
            {"name": "GPU_RELAY_JOB_FILE", "value": f"{JOB_DIR}/job.json"},
        ],
        "ports": [{"name": "progress", "containerPort": 8080}],
        "resources": role.resources,
        "volumeMounts": [*given.get("volumeMounts", []), *_mounts(job)],
    }
    secret = job.spec.tracking.secret_name if job.spec.tracking else None
    if secret is not None:
        container["envFrom"] = [*given.get("envFrom", []), {"prefix": TRACKING_PREFIX, "secretRef": {"name": secret}}]
    if wanted.image_pull_policy is not None:
        container["imagePullPolicy"] = wanted.image_pull_policy
    return container


def _plain(value: ApiType) -> Object:
    """Return what a user wrote as the API server reads it."""
    return value.model_dump(by_alias=True, exclude_none=True)


def _claim(job: Job, defaults: TrainerDefaults) -> str:
    return job.spec.gpu.resource_claim_name or defaults.resource_claim


def _resources(job: Job, defaults: TrainerDefaults) -> Object:
    """Return what the job asks for, and the operator's template for the rest."""
    containers = defaults.template.get("spec", {}).get("containers", [])
    given: Object = next((c for c in containers if c.get("name") == _CONTAINER), {})
    asked = job.spec.pod_template.resources
    return pod_resources.merged(given.get("resources", {}), {} if asked is None else _plain(asked))


def _with_gpu(resources: Object, job: Job, defaults: TrainerDefaults) -> Object:
    """Add the GPU: a share in the claim, or one of the extended resource."""
    if _claim(job, defaults):
        resources.setdefault("claims", []).append({"name": _CLAIM})
    elif defaults.gpu_resource:
        resources.setdefault("limits", {})[defaults.gpu_resource] = "1"
    return resources


def _without_gpu(resources: Object, defaults: TrainerDefaults) -> Object:
    """Keep CPU and host memory."""
    resources.pop("claims", None)
    for kind in ("limits", "requests"):
        resources.get(kind, {}).pop(defaults.gpu_resource, None)
    return resources


def _visible_device(job: Job, resident: Resident | None, defaults: TrainerDefaults) -> list[Object]:
    """Where neither claim nor extended resource makes the GPU visible, NVIDIA's container runtime does by this."""
    if _claim(job, defaults) or defaults.gpu_resource or resident is None or resident.report is None:
        return []
    return [{"name": "NVIDIA_VISIBLE_DEVICES", "value": resident.report.uuid}]


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
    data = {"name": "data", "mountPath": DATA_MOUNT, "readOnly": True}
    return [
        {"name": "job", "mountPath": JOB_DIR, "readOnly": True},
        *([data] if job.spec.dataset.persistent_volume_claim else []),
        {"name": "data" if _shares_volume(job) else "output", "mountPath": OUTPUT_MOUNT},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]


def _affinity(place: Place) -> Object | None:
    if not place.nodes:
        return None
    return _requiring(place.nodes) if place.required else _preferring(place.nodes)


def _requiring(nodes: Sequence[str]) -> Object:
    terms = {"nodeSelectorTerms": [_on(node) for node in nodes]}  # one node each: a field's `In` takes one value
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _preferring(nodes: Sequence[str]) -> Object:
    terms = [{"weight": 100, "preference": _on(node)} for node in nodes]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


def _on(node: str) -> Object:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
