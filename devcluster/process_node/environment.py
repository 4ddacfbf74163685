"""A container's environment and command, as pure functions of the pod, its node and the objects it refers to."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from devcluster.process_node.images import Image
from devcluster.process_node.mounts import Mounts

Object = dict[str, Any]
Kind = Literal["ConfigMap", "Secret"]
#: What ConfigMaps and Secrets hold, decoded; None for one that does not exist.
Sources = Mapping[tuple[Kind, str], Mapping[str, str] | None]

_REFERENCE = re.compile(r"\$\$|\$\(([^()]+)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(Exception):
    """A container cannot be configured as it stands; `reason` is what the kubelet calls it."""

    reason = "CreateContainerConfigError"


class ImageError(ConfigError):
    """There is no such image, as far as this node knows."""

    reason = "ErrImagePull"


@dataclass(frozen=True)
class Facts:
    """What a node knows of a pod beyond its spec."""

    node_name: str
    pod_ip: str
    host_ip: str


def field_value(pod: Object, path: str, facts: Facts) -> str:
    """Return what a fieldRef points at; raises ConfigError for a field that cannot be referred to."""
    metadata = pod["metadata"]
    if keyed := _KEYED.fullmatch(path):
        return str(metadata.get(keyed[1], {}).get(keyed[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path not in known:
        raise ConfigError(f"the process node knows no field {path!r}")
    return str(known[path])


def references(container: Object) -> set[tuple[Kind, str]]:
    """Return the ConfigMaps and Secrets that a container's environment needs."""
    found: set[tuple[Kind, str]] = set()
    for source in container.get("envFrom", []):
        found |= {(kind, source[key]["name"]) for kind, key in _FROM if key in source}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        found |= {(kind, source[key]["name"]) for kind, key in _KEYS if key in source}
    return found


_FROM: tuple[tuple[Kind, str], ...] = (("ConfigMap", "configMapRef"), ("Secret", "secretRef"))
_KEYS: tuple[tuple[Kind, str], ...] = (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef"))


def environment(
    container: Object, pod: Object, facts: Facts, sources: Sources, defaults: Mapping[str, str], mounts: Mounts
) -> dict[str, str]:
    """Return the whole environment: the defaults of node and image, then `envFrom`, then `env`, mount paths translated.

    Raises ConfigError when something it refers to does not exist and is not optional.
    """
    declared: dict[str, str] = {}
    for source in container.get("envFrom", []):
        declared.update(_all_of(source, sources))
    for variable in container.get("env", []):
        value = _value(variable, pod, facts, sources, {**defaults, **declared})
        if value is not None:
            declared[variable["name"]] = value
    # the places of defaults are the node's own and already where they should be
    return {**defaults, **{name: mounts.to_places(value) for name, value in declared.items()}}


def command_line(container: Object, image: Image, env: Mapping[str, str], mounts: Mounts) -> list[str]:
    """Return the program and its arguments.

    Raises ImageError when there is none.
    """
    entrypoint = container.get("command") or image.entrypoint
    words = [*entrypoint, *container.get("args", [])]
    if not entrypoint:
        raise ImageError(
            f"the process node knows no image {container.get('image', '')!r}: "
            "use one of this project's, or give the container a command"
        )
    return [mounts.to_places(expand(word, env)) for word in words]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Expand `$(NAME)` as Kubernetes does: unknown names stay as they are, and `$$` is one dollar."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] is None else env.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def _all_of(source: Object, sources: Sources) -> Iterator[tuple[str, str]]:
    for kind, key in _FROM:
        if key not in source:
            continue
        reference = source[key]
        data = _data(kind, reference, sources) or {}
        for name, value in data.items():
            full = source.get("prefix", "") + name
            if _NAME.fullmatch(full):
                yield full, value


def _value(variable: Object, pod: Object, facts: Facts, sources: Sources, env: Mapping[str, str]) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return expand(variable.get("value", ""), env)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], facts)
    for kind, key in _KEYS:
        if key in source:
            return _keyed(kind, source[key], sources)
    raise ConfigError(f"env {variable['name']}: the process node knows no {', '.join(source)}")


def _keyed(kind: Kind, reference: Object, sources: Sources) -> str | None:
    data = _data(kind, reference, sources)
    key = reference["key"]
    if data is None or key not in data:
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {key} in {kind} {reference['name']}")
    return data[key]


def _data(kind: Kind, reference: Object, sources: Sources) -> Mapping[str, str] | None:
    data = sources.get((kind, reference["name"]))
    if data is None and not reference.get("optional"):
        raise ConfigError(f"{kind.lower()} {reference['name']!r} not found")
    return data
