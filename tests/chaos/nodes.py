"""The nodes of one scenario, with a GPU each: they register, report that they are ready, and go."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

from gpu_relay.clients.kube import KubeError, Object
from tests.chaos.api import Api

GPU_RESOURCE = "nvidia.com/gpu"
SHARES = 4
"""Time-slicing: so many pods of a node may have its GPU."""
_HEARTBEAT = 5.0


class Nodes:
    """A scenario's nodes; `names` are those that exist."""

    def __init__(self, api: Api, scenario: str, shares: int = SHARES) -> None:
        """`shares` is how many pods of a node may have its GPU."""
        self.shares = shares
        self._api = api
        self._scenario = scenario
        self._numbers = itertools.count()
        self.names: list[str] = []

    async def add(self) -> str:
        """Register the next node, which can take pods at once; return its name."""
        name = f"{self._scenario}-node-{next(self._numbers)}"
        meta = {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": _status(self.shares)}
        await self._api.create("/api/v1/nodes", body)
        # A node has the taint not-ready from its registration until a controller has seen its status.
        await self.change(name, taints=None)
        self.names.append(name)
        return name

    async def remove(self, name: str) -> None:
        """Delete a node, as the cloud's controller does when its machine has gone."""
        self.names.remove(name)
        await self._api.remove(f"/api/v1/nodes/{name}")

    async def change(self, name: str, **spec: Any) -> None:
        """Change fields of a node's spec."""
        await self._api.merge(f"/api/v1/nodes/{name}", {"spec": spec})

    async def offer(self, name: str, shares: int) -> None:
        """Set how many pods may have the node's GPU, as a device plugin reports it."""
        status = {"capacity": {GPU_RESOURCE: str(shares)}, "allocatable": {GPU_RESOURCE: str(shares)}}
        await self._api.merge(f"/api/v1/nodes/{name}/status", {"status": status})

    async def keep_ready(self) -> None:
        """Report again and again that the nodes are ready, as their kubelets do."""
        while True:
            for name in self.names:
                try:
                    await self._api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [_ready()]}})
                except KubeError as error:
                    if error.status != 404:
                        raise
            await asyncio.sleep(_HEARTBEAT)

    async def close(self) -> None:
        """Delete them all."""
        for name in list(self.names):
            await self.remove(name)


async def keep_nodes_ready(api: Api, *names: str) -> None:
    """Report again and again that nodes of all scenarios are ready."""
    nodes = Nodes(api, "shared")
    nodes.names = list(names)
    await nodes.keep_ready()


def _ready() -> Object:
    return {
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
        "lastHeartbeatTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip


def _status(shares: int) -> Object:
    resources = {"cpu": "64", "memory": "256Gi", "pods": "200", GPU_RESOURCE: str(shares)}
    return {"capacity": resources, "allocatable": resources, "conditions": [_ready()]}
