"""A user with the cluster role `edit` in one namespace, as base/operator/user-roles.yaml extends it."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from devcluster.scripted.manifests import Object, job_manifest, restricted_pod
from devcluster.waiting import eventually

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
AS_OPERATOR = {"Impersonate-User": "system:serviceaccount:gpu-relay:gpu-relay"}


class Tenant:
    """Calls the API server by impersonation, without rights outside the namespace."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        """Bind the role, and wait until it includes jobs."""
        self._api = api
        self.namespace = namespace
        self.jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{namespace}/yolotrainingjobs"
        binding = {
            "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "User", "name": "tenant"}],
        }
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
        api.post(roles, json=binding).raise_for_status()
        eventually(lambda: self.call("GET", self.jobs).is_success, "the role `edit` to include jobs")

    def call(self, method: str, path: str, body: Object | str | None = None, *, strict: bool = True) -> httpx.Response:
        """Send a request as the tenant; with `strict`, unknown fields are errors, as for kubectl."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Impersonate-User": "tenant", "Content-Type": kind}
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        query = {"fieldValidation": "Strict" if strict else "Ignore"} if method != "GET" else {}
        return self._api.request(method, path, content=content, headers=headers, params=query)

    def create(self, job: str, **spec: Any) -> httpx.Response:
        """Create a minimal job with these fields of its spec."""
        return self.call("POST", self.jobs, job_manifest(job, **spec))


def refused(answer: httpx.Response, sentence: str) -> None:
    """Assert that a policy refuses a request with a message that contains a sentence."""
    assert answer.status_code == 403, answer.text
    assert sentence in answer.json()["message"]


def with_container(**fields: Any) -> Object:
    """Return a pod that the level `restricted` admits, with fields of its container added."""
    spec = restricted_pod("main", "x")
    spec["containers"][0] |= fields
    return {"spec": spec}


def annotate_namespace(api: httpx.Client, namespace: str, annotations: Mapping[str, str | None]) -> None:
    """Change a namespace's annotations, as an administrator."""
    _patch_namespace(api, namespace, {"annotations": annotations})


def label_namespace(api: httpx.Client, namespace: str, labels: Mapping[str, str | None]) -> None:
    """Change a namespace's labels, as an administrator."""
    _patch_namespace(api, namespace, {"labels": labels})


def _patch_namespace(api: httpx.Client, namespace: str, metadata: Object) -> None:
    body = json.dumps({"metadata": metadata})
    api.patch(f"/api/v1/namespaces/{namespace}", content=body, headers=MERGE_PATCH).raise_for_status()
