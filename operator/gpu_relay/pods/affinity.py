"""The node affinity of a job's pods."""

from collections.abc import Sequence

from gpu_relay.clients.kube import Object
from gpu_relay.domain.queue.preparation_placement import Place


def node_affinity(place: Place) -> Object | None:
    """Return the affinity of a preparing pod to the nodes of its place; None if it may run on any node."""
    if not place.nodes:
        return None
    return require(place.nodes) if place.required else _prefer(place.nodes)


def require(nodes: Sequence[str]) -> Object:
    """Return an affinity that keeps a pod on one of these nodes."""
    terms = {
        ("nodeSelectorTerms"): [_on(node) for node in nodes]
    }  # one term for each node: `In` of a field takes one value
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _prefer(nodes: Sequence[str]) -> Object:
    terms = [{"weight": 100, "preference": _on(node)} for node in nodes]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


def _on(node: str) -> Object:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
