"""Waiting until the API server serves CustomResourceDefinitions that were just created."""

import json

from devcluster.kubectl import Kubectl
from devcluster.waiting import eventually


def wait_established(kubectl: Kubectl, *which: str) -> None:
    """Wait until CRDs are established: names, or `-l` and a selector.

    `kubectl wait` fails on a CRD whose conditions are not written yet: "accessor error: <nil> is of the type <nil>".
    AssertionError after a minute.
    """
    eventually(lambda: _established(kubectl, which), f"CRDs {' '.join(which)} to be established", within=60)


def _established(kubectl: Kubectl, which: tuple[str, ...]) -> bool:
    found = json.loads(kubectl("get", "crd", *which, "-o", "json"))
    crds = found["items"] if found["kind"] == "List" else [found]
    return bool(crds) and all(
        any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
        for conditions in (crd.get("status", {}).get("conditions") or [] for crd in crds)
    )
