"""The CEL expressions of all policies have no type errors."""

import json
from functools import partial

import httpx

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.manifests import Object
from devcluster.waiting import eventually

MANIFESTS = REPOSITORY / "manifests"


def test_expressions_have_no_type_errors(cluster: Cluster, api: httpx.Client) -> None:
    """The controller manager checks them against the schema of what they match."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    names = [
        each["metadata"]["name"]
        for each in kustomized(cluster, MANIFESTS / "cluster")
        if each["kind"] == "ValidatingAdmissionPolicy"
    ]
    for name in names:
        checked = eventually(partial(_checked, api, f"{path}/{name}"), f"policy {name} to be checked")
        warnings = checked.get("typeChecking", {}).get("expressionWarnings", [])
        assert not warnings, f"{name}: {json.dumps(warnings, indent=1)}"


def _checked(api: httpx.Client, path: str) -> Object | None:
    status: Object = api.get(path).json().get("status", {})
    return status if "observedGeneration" in status else None
