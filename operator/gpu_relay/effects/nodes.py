"""Nodes: read where a training's own silence makes them matter."""

import logging

from gpu_relay.effects.kube import Kube, KubeError
from gpu_relay.effects.objects import node_trouble

logger = logging.getLogger(__name__)
_FORBIDDEN = 403


class NodeStore:
    """Nodes of the cluster; an operator with the rights of one namespace may not read them, and knows no trouble."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._may_read = True

    async def trouble(self, name: str) -> str:
        """Say why a node cannot be relied upon to tell the truth about its pods; empty where it can."""
        if not self._may_read:
            return ""
        try:
            return node_trouble(await self._kube.get(f"/api/v1/nodes/{name}"))
        except KubeError as error:
            if error.status == _FORBIDDEN:
                self._may_read = False
                logger.warning("lost nodes will not be told from slow ones: %s", error)
                return ""
            if error.not_found:
                return f"node {name} no longer exists"
            raise
