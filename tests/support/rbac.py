"""What roles grant to a service account, one (group, resource, verb) at a time."""

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]
Grant = tuple[str, str, str]


def granted(objects: Iterable[Object], account: str) -> set[Grant]:
    """Return what the bindings among these objects give to a service account."""
    objects = list(objects)
    roles = {(each["kind"], each["metadata"]["name"]): each for each in objects if each["kind"].endswith("Role")}
    bindings = (each for each in objects if each["kind"].endswith("RoleBinding"))
    mine = (each["roleRef"] for each in bindings if any(s["name"] == account for s in each["subjects"]))
    return {grant for role in mine for grant in _grants(roles[role["kind"], role["name"]])}


def wildcards(objects: Iterable[Object]) -> list[str]:
    """Return the names of roles with a wildcard `*`."""
    roles = (each for each in objects if each["kind"].endswith("Role"))
    return [role["metadata"]["name"] for role in roles if any("*" in part for grant in _grants(role) for part in grant)]


def _grants(role: Object) -> set[Grant]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
