"""Build the pods of a job from the operator's defaults, the job's podTemplate, and what GPU Relay itself needs.

A *training pod* is one attempt on a GPU. A *preparing pod* fetches and checks the data before, without a GPU.
"""

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gpu_relay.api import words
from gpu_relay.api.schema import ApiType
from gpu_relay.clients.kube import Object
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.preparation import pod_name
from gpu_relay.domain.objects.demand import Grant
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import Resident
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods import affinity
from gpu_relay.pods.job_file import JOB_DIR, TRACKING_PREFIX, preparing_file, training_file
from gpu_relay.pods.pod_resources import GPU_CLAIM, add_gpu, remove_gpu, trainer_resources
from gpu_relay.pods.volumes import mounts, volumes

_CONTAINER = words.TRAINER_CONTAINER
_USER = 65532


@dataclass(frozen=True)
class TrainerDefaults:
    """Defaults of all pods of jobs. `template` is a partial PodTemplateSpec from the operator's configuration."""

    image: str
    gpu_resource: str
    hold_ttl: float
    resource_claim: str = ""
    grace_period: int = 60
    preparation_timeout: int = 21600
    """Time limit of a preparing pod, in seconds."""
    template: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Role:
    """The differences between the kinds of pods."""

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
        resources=_training_resources(job, defaults),
        env=_visible_device(job, resident, defaults),
        claim=_claim(job, defaults),
        affinity=None if resident is None else affinity.require((resident.node,)),
        annotations={} if step.proven_mib is None else {words.ANNOTATION_PROVEN_MIB: str(step.proven_mib)},
    )
    return _pod(job, role, defaults)


def requested_pod(job: Job, defaults: TrainerDefaults) -> Object:
    """Build a job's training pod as far as it is known before the turn: with its requests, for Kueue."""
    role = _Role(
        name=job.key.name,
        command="run",
        labels={},
        file={},
        resources=_training_resources(job, defaults),
        env=[],
        claim=_claim(job, defaults),
    )
    return _pod(replace(job, grant=Grant()), role, defaults)


def preparing_pod(job: Job, number: int, place: Place, defaults: TrainerDefaults) -> Object:
    """Build the pod `<job>-<number>-prepare`, without a GPU. It prefers or requires the nodes of `place`.

    It pulls the trainer's image there; otherwise the training pod would pull it while the resident is unloaded.
    """
    role = _Role(
        name=pod_name(job, number),
        command="prepare",
        labels={words.LABEL_PREPARATION: str(number)},
        file=preparing_file(job, place.label_server),
        resources=remove_gpu(trainer_resources(job, defaults.template), defaults.gpu_resource),
        env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
        affinity=affinity.node_affinity(place),
        # SAM3 may be unloaded for hours while the images wait for it.
        time_limit=defaults.preparation_timeout if job.spec.dataset.label is None else None,
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
        "volumes": [*base.get("volumes", []), *volumes(job)],
    }
    if job.node_selector:
        site = base.get("nodeSelector", {})
        spec["nodeSelector"] = {**job.node_selector, **site}  # the site's labels override the job's
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
        spec["resourceClaims"] = [*base.get("resourceClaims", []), {"name": GPU_CLAIM, "resourceClaimName": role.claim}]
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
        "volumeMounts": [*given.get("volumeMounts", []), *mounts(job)],
    }
    secret = job.spec.tracking.secret_name if job.spec.tracking else None
    if secret is not None:
        container["envFrom"] = [*given.get("envFrom", []), {"prefix": TRACKING_PREFIX, "secretRef": {"name": secret}}]
    if wanted.image_pull_policy is not None:
        container["imagePullPolicy"] = wanted.image_pull_policy
    return container


def _plain(value: ApiType) -> Object:
    """Return a part of the spec as the API server expects it."""
    return value.model_dump(by_alias=True, exclude_none=True)


def _claim(job: Job, defaults: TrainerDefaults) -> str:
    return job.spec.gpu.resource_claim_name or defaults.resource_claim


def _training_resources(job: Job, defaults: TrainerDefaults) -> Object:
    resources = trainer_resources(job, defaults.template)
    return add_gpu(resources, _claim(job, defaults), defaults.gpu_resource)


def _visible_device(job: Job, resident: Resident | None, defaults: TrainerDefaults) -> list[Object]:
    """Return the variable that makes NVIDIA's runtime expose the GPU, if no ResourceClaim or resource does."""
    if _claim(job, defaults) or defaults.gpu_resource or resident is None or resident.report is None:
        return []
    return [{"name": "NVIDIA_VISIBLE_DEVICES", "value": resident.report.uuid}]
