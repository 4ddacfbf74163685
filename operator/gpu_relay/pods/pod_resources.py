"""The resources of the trainer's container: the site's, the job's in place of them, and the GPU."""

import copy
from collections.abc import Mapping
from typing import Any

from gpu_relay.api import words
from gpu_relay.clients.kube import Object
from gpu_relay.domain.objects.job import Job

GPU_CLAIM = "gpu"
"""Name of the ResourceClaim inside the pod."""


def trainer_resources(job: Job, template: Mapping[str, Any]) -> Object:
    """Return the `resources` of the site's template with those of the job in place of them, without the GPU."""
    containers = template.get("spec", {}).get("containers", [])
    site: Object = next((c for c in containers if c.get("name") == words.TRAINER_CONTAINER), {})
    requested = job.spec.pod_template.resources
    return _merge(
        site.get("resources", {}), {} if requested is None else requested.model_dump(by_alias=True, exclude_none=True)
    )


def add_gpu(resources: Object, claim: str, gpu_resource: str) -> Object:
    """Add the GPU: a share of the ResourceClaim `claim` if it is set, else one unit of `gpu_resource` if it is set."""
    if claim:
        resources.setdefault("claims", []).append({"name": GPU_CLAIM})
    elif gpu_resource:
        resources.setdefault("limits", {})[gpu_resource] = "1"
    return resources


def remove_gpu(resources: Object, gpu_resource: str) -> Object:
    """Remove the GPU: all ResourceClaims and the extended resource."""
    resources.pop("claims", None)
    for kind in ("limits", "requests"):
        resources.get(kind, {}).pop(gpu_resource, None)
    return resources


def _merge(site: Object, requested: Object) -> Object:
    """Return the site's resources, each replaced by that of the job if the job names it.

    A resource that the job names in requests or limits is the job's alone, because a request of the site may be above
    a limit of the job.
    """
    named = {name for amounts in requested.values() for name in amounts}
    result: Object = copy.deepcopy(site)
    for kind in ("requests", "limits"):
        if kind in site or kind in requested:
            others = {name: amount for name, amount in site.get(kind, {}).items() if name not in named}
            result[kind] = others | requested.get(kind, {})
    return result
