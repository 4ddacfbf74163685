"""Nodes: whether they can take a training pod, and whether they can be relied upon."""

import asyncio
import logging
import time
from collections.abc import Sequence

from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.objects.node import NodeState, node_state, node_trouble

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_FORBIDDEN_PAUSE = 30.0
"""Seconds until a node that may not be read is asked about again: a restarting API server may refuse for a moment."""
_FRESH = 1.0
"""Seconds for which a node is not read again for the next placement: placements in a burst share one reading."""


class NodeStore:
    """Nodes of the cluster; an operator with the rights of one namespace may not read them: they are unknown then."""

    def __init__(self, kube: Kube, gpu_resource: str, *, lists_pods: bool) -> None:
        """`gpu_resource` is the GPU's extended resource; `lists_pods` is True with the right to pods everywhere."""
        self._kube = kube
        self._resource = gpu_resource
        self._lists_pods = lists_pods
        self._forbidden_until: dict[str, float] = {}
        """By node: until then the operator does not ask again whether it is well (monotonic, seconds)."""
        self._warned: set[str] = set()
        self._states: dict[str, tuple[float, NodeState | None]] = {}

    async def state(self, name: str, max_age: float = _FRESH) -> NodeState | None:
        """Return a node as it was at most `max_age` seconds ago; None where it cannot be read, or does not exist."""
        at, state = self._states.get(name, (0.0, None))
        if time.monotonic() - at > max_age:
            at = time.monotonic()
            state = await self._read(name)
            self._states[name] = at, state
        return state

    def known(self, name: str) -> NodeState | None:
        """Return a node as it was last read; None where it never was."""
        return self._states.get(name, (0.0, None))[1]

    async def _read(self, name: str) -> NodeState | None:
        if not name:
            return None
        raw, pods = await asyncio.gather(self._get(name), self._pods_on(name))
        return None if raw is None else node_state(raw, pods, self._resource)

    async def _get(self, name: str) -> Object | None:
        try:
            return await self._kube.get(f"/api/v1/nodes/{name}")
        except KubeError as error:
            if error.unavailable:
                raise
            if not error.not_found:
                level = logging.DEBUG if name in self._warned else logging.WARNING
                self._warned.add(name)
                logger.log(level, "node %s cannot be read, so nothing is known of its state: %s", name, error)
            return None

    async def _pods_on(self, name: str) -> Sequence[Object] | None:
        if not self._lists_pods or not self._resource:
            return None
        try:
            return await self._kube.list_cached("/api/v1/pods", fields=f"spec.nodeName={name}")
        except KubeError as error:
            if error.unavailable:
                raise
            logger.warning("the pods of node %s cannot be listed, so its free shares are unknown: %s", name, error)
            return None

    async def trouble(self, name: str) -> str:
        """Say why a node cannot be relied upon to tell the truth about its pods; empty where it can."""
        if time.monotonic() < self._forbidden_until.get(name, 0.0):
            return ""
        try:
            return node_trouble(await self._kube.get(f"/api/v1/nodes/{name}"))
        except KubeError as error:
            if error.status == _FORBIDDEN:
                self._forbidden_until[name] = time.monotonic() + _FORBIDDEN_PAUSE
                logger.warning("lost nodes will not be told from slow ones: %s", error)
                return ""
            if error.not_found:
                return f"node {name} no longer exists"
            raise
