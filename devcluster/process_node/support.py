"""What a pod may ask of a process node: everything else is refused in a sentence, never half done."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

VOLUMES = frozenset(
    {"configMap", "downwardAPI", "emptyDir", "hostPath", "persistentVolumeClaim", "projected", "secret"}
)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def unsupported(pod: Object) -> str:
    """Return why a pod cannot run here, empty when it can."""
    reasons = list(_reasons(pod["spec"]))
    return f"the process node does not support {'; '.join(reasons)}" if reasons else ""


def _reasons(spec: Object) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - VOLUMES - {"name"}:
            yield f"{kind} (volume {volume['name']})"
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy"):
            yield f"sidecar init containers ({container['name']})"
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        yield from _container_reasons(container)


def _container_reasons(container: Object) -> Iterator[str]:
    if container.get("lifecycle"):
        yield f"lifecycle hooks (container {container['name']})"
    for probe in PROBES:
        if probe in container and "httpGet" not in container[probe]:
            yield f"a {probe} other than httpGet (container {container['name']})"
    for mount in container.get("volumeMounts", []):
        if mount.get("subPathExpr"):
            yield f"subPathExpr (container {container['name']})"
