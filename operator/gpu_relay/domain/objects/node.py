"""The node of a GPU, as far as the scheduler would refuse a training pod there: cordon, taints, shares of the GPU.

What cannot be read is unknown (law 10), and refuses nothing: the scheduler has the last word.
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
    """What decides whether a pod can be placed on a node."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    cordoned: bool = False
    taints: tuple[Mapping[str, str], ...] = ()
    """Those that keep pods away, each with `key`, `effect` and, where it has one, `value`."""
    shares: int | None = None
    """Shares of the GPU resource that the node offers; None where it does not say."""
    shares_taken: int | None = None
    """Shares that pods on the node have; None where they could not be listed."""
    shares_by_gpu: Mapping[str, int] = field(default_factory=dict)
    """Of these, what the training pods of a GPU have, by the GPU's name in Leases."""

    @property
    def is_restricted(self) -> bool:
        """True where there is something that may keep a pod away."""
        full = self.shares is not None and (self.shares_taken or 0) >= self.shares
        return self.cordoned or bool(self.taints) or full


def node_state(raw: Object, pods: Iterable[Object] | None, resource: str) -> NodeState:
    """Read a node; `pods` are those on it, None where they are unknown; `resource` is the GPU's extended resource."""
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
    """Say why the scheduler would put no training pod for a GPU on its node; None where nothing is known to prevent it.

    The share of a training pod that the GPU has now does not count: the GPU is given on when that pod has ended.
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
            f"node {node.name} has no free share of its GPU: pods on it have {taken} of {node.shares}; "
            "end one of them, or offer more shares (time-slicing)"
        )
    return None


def _tolerates(tolerations: Iterable[Object], taint: Mapping[str, str]) -> bool:
    """True where one of the tolerations matches the taint, as the scheduler compares them."""
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
    return True  # Exists; and operators that this version does not know, which are left to the scheduler


def _share_of(pod: Object, resource: str) -> int:
    """Return the shares that a pod has on its node; one that has ended has none."""
    if pod.get("status", {}).get("phase") in _ENDED:
        return 0
    containers = pod.get("spec", {}).get("containers", [])
    limits = (each.get("resources", {}).get("limits", {}).get(resource) for each in containers)
    return sum(_whole(limit) or 0 for limit in limits)


def _whole(quantity: Any) -> int | None:
    """Read a count of an extended resource, which is a whole number; None for anything else."""
    text = str(quantity)
    return int(text) if len(text) < 10 and text.isdecimal() else None


def node_trouble(raw: Object) -> str:
    """Say why a node cannot be relied upon to tell the truth about its pods; empty where it can."""
    name, conditions = raw["metadata"]["name"], raw.get("status", {}).get("conditions", [])
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None or ready["status"] == "True":
        return ""
    since, said = ready.get("lastTransitionTime", "?"), ready.get("message", "") or ready.get("reason", "")
    return f"node {name} has not been ready since {since}: {said}"
