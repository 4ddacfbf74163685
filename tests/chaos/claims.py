"""PVCs that are bound: each has a volume of its own, as an administrator makes it."""

from collections.abc import Sequence

from tests.chaos.api import Api

_VOLUMES = "/api/v1/persistentvolumes"
NAMES = ("data", "results")
"""What the jobs of the tests mount."""


async def create_claims(api: Api, namespace: str, names: Sequence[str] = NAMES) -> None:
    """Create PVCs and their volumes; the volume controller binds them."""
    for name in names:
        volume = f"{namespace}-{name}"
        shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
        path = {"hostPath": {"path": f"/tmp/{volume}"}, "capacity": {"storage": "1Gi"}, "claimRef": reference}
        await api.create(_VOLUMES, {"metadata": {"name": volume}, "spec": {**shared, **path}})
        wanted = {**shared, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        await api.create(claims, {"metadata": {"name": name}, "spec": wanted})


async def delete_volumes(api: Api, namespace: str, names: Sequence[str] = NAMES) -> None:
    """Delete the volumes; the PVCs are deleted with their namespace."""
    for name in names:
        await api.remove(f"{_VOLUMES}/{namespace}-{name}")
