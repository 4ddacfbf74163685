"""What one scenario's operators see of a cluster that scenarios share: lists and watches without other namespaces.

An operator that watches the whole cluster lists pods and jobs of all namespaces. Scenarios run at the same time on
one control plane, so the proxy leaves out what lives in the namespaces of other scenarios.
"""

import json
from collections.abc import Set
from typing import Any

Object = dict[str, Any]


def spans_namespaces(method: str, path: str) -> bool:
    """Return True for a read whose answer may hold objects of several namespaces."""
    return method == "GET" and "/namespaces/" not in path


def is_foreign(path: str, namespaces: Set[str]) -> bool:
    """Return True for the path of an object in a namespace of another scenario."""
    parts = path.split("/")
    return "namespaces" in parts[:-1] and parts[parts.index("namespaces") + 1] not in namespaces


def visible_list(raw: bytes, namespaces: Set[str]) -> bytes:
    """Return a list's answer without objects of other namespaces; any other answer as it is."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        return raw
    answer["items"] = [item for item in answer["items"] if _is_visible(item, namespaces)]
    return json.dumps(answer).encode()


def shows(line: bytes, namespaces: Set[str]) -> bool:
    """Return True for a watch's line that concerns these namespaces, or none: a bookmark, an error, a node."""
    try:
        event = json.loads(line)
    except ValueError:
        return True
    return _is_visible(event.get("object", {}), namespaces)


def _is_visible(item: Object, namespaces: Set[str]) -> bool:
    return item.get("metadata", {}).get("namespace") in {None, *namespaces}
