"""The node of a GPU: the reasons for which the scheduler would refuse a training pod there: cordon, taints, GPU shares.

What cannot be read is unknown (law 10) and is no reason to refuse: the scheduler decides.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api.words import LABEL_GPU

Object = Mapping[str, Any]
_HARD_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
_NO_GPU = ""
_CORDON = "node.kubernetes.io/unschedulable"
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class NodeState:
    """The state of a node that decides whether a pod can be placed there."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    cordoned: bool = False
    taints: tuple[Mapping[str, str], ...] = ()
    """Taints that keep pods away, each with `key`, `effect` and, if it has one, `value`."""
    shares: int | None = None
    """Shares of the GPU resource that the node offers; None if unknown."""
    shares_taken: int | None = None
    """Shares that pods on the node use; None if the pods could not be listed."""
    shares_by_gpu: Mapping[str, int] = field(default_factory=dict)
    """Of these, the shares of each GPU's training pods, by the name of the GPU's Lease."""

    @property
    def is_restricted(self) -> bool:
        """Return whether something may keep a pod away."""
        full = self.shares is not None and (self.shares_taken or 0) >= self.shares
        return self.cordoned or bool(self.taints) or full


def node_state(raw: Object, pods: Iterable[Object] | None, resource: str) -> NodeState:
    """Read a node. `pods` are those on it, None if unknown; `resource` is the GPU's extended resource."""
    spec, status = raw.get("spec", {}), raw.get("status", {})
    taken = Counter({_NO_GPU: 0})
    for pod in pods or ():
        taken[pod["metadata"].get("labels", {}).get(LABEL_GPU, _NO_GPU)] += _share_of(pod, resource)
    offered = status.get("allocatable", {}).get(resource) if resource else None
    return NodeState(
        name=raw["metadata"]["name"],
        labels=dict(raw["metadata"].get("labels", {})),
        cordoned=bool(spec.get("unschedulable")),
        taints=tuple(taint for taint in spec.get("taints", []) if taint.get("effect") in _HARD_EFFECTS),
        shares=_whole(offered),
        shares_taken=None if pods is None else taken.total(),
        shares_by_gpu=taken,
    )


def placement_error(node: NodeState, gpu: str, tolerations: Iterable[Object]) -> str | None:
    """Return why the scheduler would refuse a GPU's training pod on its node; None if there is no known reason.

    The share of the GPU's current training pod does not count: the next pod is created after that one has ended.
    """
    tolerated = list(tolerations)
    if node.cordoned and not _tolerates(tolerated, {"key": _CORDON, "effect": "NoSchedule"}):
        return f"node {node.name} is cordoned: run kubectl uncordon {node.name} when it may take pods again"
    for taint in node.taints:
        if taint.get("key") != _CORDON and not _tolerates(tolerated, taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            return (
                f"node {node.name} has the taint {taint.get('key')}{value}:{taint.get('effect')}, which the training "
                "pod does not tolerate"
            )
    taken = None if node.shares_taken is None else node.shares_taken - node.shares_by_gpu.get(gpu, 0)
    if node.shares is not None and taken is not None and taken >= node.shares:
        return (
            f"node {node.name} has no free share of its GPU: its pods use {taken} of {node.shares}; "
            "end one of them, or offer more shares (time-slicing)"
        )
    return None


def _tolerates(tolerations: Iterable[Object], taint: Mapping[str, str]) -> bool:
    """Return whether one of the tolerations matches the taint, by the rules of the scheduler."""
    return any(_matches(each, taint) for each in tolerations)


def _matches(toleration: Object, taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in {None, "", taint.get("effect")}:
        return False
    operator = toleration.get("operator") or "Equal"
    if not toleration.get("key"):
        return bool(operator == "Exists")
    if toleration["key"] != taint.get("key"):
        return False
    if operator == "Equal":
        return bool((toleration.get("value") or "") == (taint.get("value") or ""))
    return True  # Exists; for operators that this version does not know, the scheduler decides


def _share_of(pod: Object, resource: str) -> int:
    """Return the shares that a pod uses on its node; 0 if it has ended."""
    if pod.get("status", {}).get("phase") in _ENDED:
        return 0
    containers = pod.get("spec", {}).get("containers", [])
    limits = (each.get("resources", {}).get("limits", {}).get(resource) for each in containers)
    return sum(_whole(limit) or 0 for limit in limits)


def _whole(quantity: Any) -> int | None:
    """Read the count of an extended resource, a whole number; None for anything else."""
    text = str(quantity)
    return int(text) if len(text) < 10 and text.isdecimal() else None


def node_trouble(raw: Object) -> str:
    """Return why the status of a node's pods may be out of date: the node is not ready. Empty if it is ready."""
    name, conditions = raw["metadata"]["name"], raw.get("status", {}).get("conditions", [])
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None or ready["status"] == "True":
        return ""
    since, cause = ready.get("lastTransitionTime", "?"), ready.get("message", "") or ready.get("reason", "")
    return f"node {name} has not been ready since {since}: {cause}"
