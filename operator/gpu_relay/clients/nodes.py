"""The client of nodes: whether they accept a training pod, and whether they are up."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from gpu_relay.api.words import LABEL_PIN
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.domain.objects.node import NodeState, node_state, node_trouble
from gpu_relay.domain.untrusted import mapping

logger = logging.getLogger(__name__)
_FORBIDDEN = 403
_FORBIDDEN_PAUSE = 30.0
"""Seconds after which a node that may not be read is read again: an API server that restarts may refuse, too."""
_PIN_AGE = 60.0
"""Seconds for which a node whose label could be set is not asked again."""
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
        self._pinnable: dict[str, float] = {}
        """By node: when its label could be set (monotonic, seconds)."""

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

    async def check_pin(self, name: str) -> None:
        """Raise KubeError if the label of `set_pin` cannot be set."""
        if time.monotonic() - self._pinnable.get(name, -_PIN_AGE) >= _PIN_AGE:
            await self._label(name, "check", dry_run=True)
            self._pinnable[name] = time.monotonic()

    async def set_pin(self, name: str, pin: str) -> None:
        """Set the label by which the pods of a Workload's turn find the node. Raises KubeError."""
        self._note_labels(name, await self._label(name, pin))

    async def _label(self, name: str, pin: str, *, dry_run: bool = False) -> Object:
        body = {"metadata": {"labels": {LABEL_PIN: pin}}}
        return await self._kube.merge(f"/api/v1/nodes/{name}", body, dry_run=dry_run)

    async def remove_pin(self, name: str) -> bool:
        """Remove that label; return False if the node may still have it."""
        path = f"/api/v1/nodes/{name}"
        try:
            if not await self._removed(path, self._known_pin(name)):
                node = await self._kube.get(path)
                self._note_labels(name, node)
                await self._removed(path, _labels_of(node).get(LABEL_PIN))
        except KubeError as error:
            if not error.not_found:
                logger.warning("node %s may still have the label %s: %s", name, LABEL_PIN, error)
                return False
        return True

    def _known_pin(self, name: str) -> str | None:
        state = self.known(name)
        return state.labels.get(LABEL_PIN) if state else None

    async def _removed(self, path: str, pin: str | None) -> bool:
        """Remove the label if it has this value, as the label of a later turn has another; False if it has another."""
        if pin is None:
            return False
        try:
            node = await self._kube.remove_field(path, _PIN_FIELD, pin)
        except KubeError as error:
            if not error.invalid:
                raise
            return False
        self._note_labels(node["metadata"]["name"], node)
        return True

    def _note_labels(self, name: str, node: Object) -> None:
        """Keep what is known of a node, with the labels that it has now."""
        at, state = self._states.get(name, (0.0, None))
        if state is not None:
            self._states[name] = at, replace(state, labels=_labels_of(node))

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


def _labels_of(node: Object) -> dict[str, str]:
    return dict(mapping(mapping(node.get("metadata")).get("labels")))
