"""The object that a Workload of Kueue represents: its controller, such as a Job, which users know by its name."""

from dataclasses import dataclass, field
from typing import Any

from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.untrusted import mappings, text


@dataclass(frozen=True)
class Represented:
    """The kind and the name of an object, in the namespace of its Workload."""

    kind: str
    name: str
    api_version: str = field(default="", compare=False)
    uid: str = field(default="", compare=False)


def represented_by(meta: dict[str, Any]) -> Represented | None:
    """Return the object that a Workload with this metadata represents; None if it has no controller."""
    owners = [each for each in mappings(meta.get("ownerReferences")) if each.get("controller")]
    if len(owners) != 1:
        return None
    kind, name, version, uid = (text(owners[0].get(key)) for key in ("kind", "name", "apiVersion", "uid"))
    return Represented(kind, name, version, uid) if kind and name else None


def title(key: JobKey, represents: Represented | None) -> str:
    """Return how users know an owner of a GPU: `vision/digits`, or for a Workload `Job vision/my-training`."""
    if not key.is_workload:
        return str(key)
    return f"{represents.kind} {key.namespace}/{represents.name}" if represents else f"Workload {key}"
