"""Nodes, and what their kubelets report."""

import time
from typing import Any

from devcluster.scripted.resources.namespace import Namespace


class Nodes(Namespace):
    """Nodes of the cluster."""

    def create_node(self, name: str) -> None:
        """Create a node."""
        labels = {"kubernetes.io/hostname": name}
        self._expect(self.api.post("/api/v1/nodes", json={"metadata": {"name": name, "labels": labels}}))

    def set_node(self, name: str, ready: str, message: str) -> None:
        """Report a node as ready or not: True, False or Unknown."""
        condition = {
            "type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "message": message,
            "lastHeartbeatTime": _now(), "lastTransitionTime": _now(),
        }  # fmt: skip
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})

    def set_room(self, name: str, cpu: str | None) -> None:
        """Report the CPUs of a node, and room for pods; with None it has no room, and gets no pods."""
        room = {"cpu": cpu, "memory": "32Gi", "pods": "110"} if cpu is not None else None
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"allocatable": room, "capacity": room}})

    def set_gpu_shares(self, name: str, shares: str | None) -> None:
        """Report the shares of GPUs of a node; None removes them."""
        offered = {"nvidia.com/gpu": shares}
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"allocatable": offered, "capacity": offered}})

    def set_node_spec(self, name: str, **spec: Any) -> None:
        """Change fields of a node's spec; None removes one."""
        self._patch(f"/api/v1/nodes/{name}", {"spec": spec})

    def delete_node(self, name: str) -> None:
        """Delete a node."""
        self._expect(self.api.delete(f"/api/v1/nodes/{name}"))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
