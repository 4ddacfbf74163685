"""Whether NetworkPolicies let one pod reach another, as networking.k8s.io/v1 defines it for selectors and ports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod, by what policies see of it; or a machine outside the cluster, which has no labels and no namespace."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    ip: str = ""
    """Address, of a machine only: blocks of addresses are not meant for pods, whose addresses change."""


def machine(ip: str) -> Pod:
    """Return a machine outside the cluster."""
    return Pod("", {}, {}, ip)


def may_reach(policies: Iterable[Object], source: Pod, target: Pod, port: int) -> bool:
    """Return whether the policies of its source and of its target allow a connection."""
    policies = list(policies)
    out = _lets(policies, source, target, port, "Egress")
    return out and _lets(policies, target, source, port, "Ingress")


def _lets(policies: list[Object], subject: Pod, peer: Pod, port: int, direction: str) -> bool:
    mine = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], subject.labels)
    ]
    if not mine:
        return True
    side = "to" if direction == "Egress" else "from"
    rules = (rule for spec in mine for rule in spec.get(direction.lower(), []))
    return any(_names(rule.get(side), peer, subject.namespace) and _opens(rule.get("ports"), port) for rule in rules)


def _names(peers: list[Object] | None, pod: Pod, own_namespace: str) -> bool:
    return peers is None or any(_is(peer, pod, own_namespace) for peer in peers)


def _is(peer: Object, pod: Pod, own_namespace: str) -> bool:
    if "ipBlock" in peer or pod.ip:
        return "ipBlock" in peer and bool(pod.ip) and _in_block(peer["ipBlock"], pod.ip)
    if "namespaceSelector" in peer:
        here = _selects(peer["namespaceSelector"], pod.namespace_labels)
    else:
        here = pod.namespace == own_namespace
    return here and _selects(peer.get("podSelector", {}), pod.labels)


def _in_block(block: Object, ip: str) -> bool:
    excepted = any(ip_address(ip) in ip_network(each) for each in block.get("except", []))
    return ip_address(ip) in ip_network(block["cidr"]) and not excepted


def _opens(ports: list[Object] | None, port: int) -> bool:
    return ports is None or any(each["port"] == port and each.get("protocol", "TCP") == "TCP" for each in ports)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "Exists" for each in expressions), "no other operator is used"
    return exact and all(each["key"] in labels for each in expressions)
