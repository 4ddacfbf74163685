"""The client of PVCs: they are read before a pod mounts them."""

import logging

from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.domain.objects.pvc import Pvc

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_UNKNOWN = Pvc(bound=False)
"""The assumption for a PVC that the operator may not read: it exists, and may still be bound to a node."""


class PvcStore:
    """The PVCs of the cluster. One that the operator may not read is assumed to exist, unbound."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._may_read = True

    async def get(self, namespace: str, name: str) -> Pvc | None:
        """Read a PVC, live; None if it does not exist. Raises KubeError."""
        try:
            raw = await self._kube.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        except KubeError as error:
            if error.not_found:
                return None
            if error.status != _FORBIDDEN:
                raise
            if self._may_read:
                self._may_read = False
                logger.warning(
                    "PVCs cannot be read, so a missing PVC is only reported once a pod waits for it: %s", error
                )
            return _UNKNOWN
        return Pvc(bound=raw.get("status", {}).get("phase") == "Bound")
