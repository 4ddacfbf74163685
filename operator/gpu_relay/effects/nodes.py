"""Nodes: read where a training's own silence makes them matter."""

from gpu_relay.effects.kube import Kube, KubeError
from gpu_relay.effects.objects import node_trouble


class NodeStore:
    """Nodes of the cluster."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def trouble(self, name: str) -> str:
        """Say why a node cannot be relied upon to tell the truth about its pods; empty where it can."""
        try:
            return node_trouble(await self._kube.get(f"/api/v1/nodes/{name}"))
        except KubeError as error:
            if error.not_found:
                return f"node {name} no longer exists"
            raise
