"""The client of nodes: whether they accept a training pod, and whether they are up."""

import asyncio
import logging
import time
from collections.abc import Sequence

from gpu_relay.api.words import LABEL_PIN
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.objects.node import NodeState, node_state, node_trouble

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_FORBIDDEN_PAUSE = 30.0
"""Seconds after which a node that may not be read is read again: an API server that restarts may refuse, too."""
_PIN_AGE = 60.0
_PIN_FIELD = f"/metadata/labels/{LABEL_PIN.replace('/', '~1')}"
_FRESH = 1.0
"""Seconds for which placements share one read of a node."""


class NodeStore:
    """The nodes of the cluster. They are unknown to an operator with the rights of one namespace."""

    def __init__(self, kube: Kube, gpu_resource: str, *, lists_pods: bool) -> None:
        """Create a client. `gpu_resource` is the GPU's extended resource; `lists_pods` permits lists of all pods."""
        self._kube = kube
        self._resource = gpu_resource
        self._lists_pods = lists_pods
        self._forbidden_until: dict[str, float] = {}
        """By node: the time until which the node is not read again (monotonic, seconds)."""
        self._warned: set[str] = set()
        self._states: dict[str, tuple[float, NodeState | None]] = {}

    async def state(self, name: str, max_age: float = _FRESH) -> NodeState | None:
        """Return the state of a node, at most `max_age` seconds old; None if it cannot be read, or does not exist."""
        at, state = self._states.get(name, (0.0, None))
        if time.monotonic() - at > max_age:
            at = time.monotonic()
            state = await self._read(name)
            self._states[name] = at, state
        return state

    def known(self, name: str) -> NodeState | None:
        """Return the state of a node as it was last read; None if it was never read."""
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
                logger.log(level, "node %s cannot be read, so its state is unknown: %s", name, error)
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

    async def set_pin(self, name: str, pin: str, *, dry_run: bool = False) -> None:
        """Set the label by which the pods of a pod set find the node. Raises KubeError."""
        body = {"metadata": {"labels": {LABEL_PIN: pin}}}
        await self._kube.merge(f"/api/v1/nodes/{name}", body, dry_run=dry_run)
        self._states.pop(name, None)

    async def remove_pin(self, name: str) -> None:
        """Remove that label; one that stays after an error selects no node for later pods."""
        try:
            state = await self.state(name, _PIN_AGE)
            pin = state.labels.get(LABEL_PIN) if state is not None else None
            if pin is not None:
                self._states.pop(name, None)
                await self._kube.remove_field(f"/api/v1/nodes/{name}", _PIN_FIELD, pin)
        except KubeError as error:
            logger.info("node %s may keep the label %s: %s", name, LABEL_PIN, error)

    async def trouble(self, name: str) -> str:
        """Return why the status of a node's pods may be out of date: the node is lost. Empty if it is up or unknown."""
        if time.monotonic() < self._forbidden_until.get(name, 0.0):
            return ""
        try:
            return node_trouble(await self._kube.get(f"/api/v1/nodes/{name}"))
        except KubeError as error:
            if error.status == _FORBIDDEN:
                self._forbidden_until[name] = time.monotonic() + _FORBIDDEN_PAUSE
                logger.warning("lost nodes cannot be distinguished from slow ones: %s", error)
                return ""
            if error.not_found:
                return f"node {name} no longer exists"
            raise
