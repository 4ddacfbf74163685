"""PersistentVolumeClaims and the volumes that they are bound to."""

from typing import Any

import httpx

from devcluster.scripted.manifests import Object
from devcluster.scripted.resources.namespace import Namespace
from devcluster.waiting import eventually

_VOLUMES = "/api/v1/persistentvolumes"
_NAMESPACE = "tests.gpurelay.dev/namespace"


class Volumes(Namespace):
    """PVCs of one namespace, and volumes for them."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        super().__init__(api, namespace)
        self._claims = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"

    def empty_volumes(self) -> None:
        """Delete the PVCs and their volumes."""
        self.api.delete(self._claims)
        self.api.delete(_VOLUMES, params={"labelSelector": f"{_NAMESPACE}={self.namespace}"})

    def add_claims(self, *names: str) -> None:
        """Create PVCs with a volume each, and wait until they are bound."""
        for name in names:
            volume = f"{self.namespace}-{name}"
            source = {"hostPath": {"path": f"/{name}"}}
            self.add_volume(volume, **source, claimRef={"namespace": self.namespace, "name": name})
            self.add_claim(name, volumeName=volume)
        eventually(lambda: all(map(self.is_bound, names)), f"PVCs {', '.join(names)} to be bound")

    def add_volume(self, name: str, **spec: Any) -> None:
        """Create a PersistentVolume, which `empty` deletes."""
        meta = {"name": name, "labels": {_NAMESPACE: self.namespace}}
        spec = {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "storageClassName": "", **spec}
        self._expect(self.api.post(_VOLUMES, json={"metadata": meta, "spec": spec}))

    def add_claim(self, name: str, **spec: Any) -> None:
        """Create a PVC; without more in `spec`, it stays unbound."""
        size = {"resources": {"requests": {"storage": "1Gi"}}}
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", **size, **spec}
        self._expect(self.api.post(self._claims, json={"metadata": {"name": name}, "spec": spec}))

    def claim(self, name: str) -> Object:
        """Read a PVC."""
        return self._expect(self.api.get(f"{self._claims}/{name}"))

    def is_bound(self, claim: str) -> bool:
        """Return whether a PVC is bound to its volume."""
        return bool(self.claim(claim)["status"].get("phase") == "Bound")

    def delete_claim(self, name: str) -> None:
        """Delete a PVC, and wait until it no longer exists."""
        self._expect(self.api.delete(f"{self._claims}/{name}"))
        eventually(lambda: self.api.get(f"{self._claims}/{name}").status_code == 404, f"PVC {name} to be deleted")
