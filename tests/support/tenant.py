"""Somebody with the rights of the cluster role `edit` in one namespace, as base/operator/user-roles.yaml extends it."""

import json
from typing import Any

import httpx

from devcluster.scripted.manifests import Object, job_manifest
from devcluster.waiting import eventually


class Tenant:
    """Calls the API server by impersonation; has no rights outside the namespace."""

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
        """Send a request as the tenant; unless told otherwise unknown fields are errors, as for kubectl."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Impersonate-User": "tenant", "Content-Type": kind}
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        query = {"fieldValidation": "Strict" if strict else "Ignore"} if method != "GET" else {}
        return self._api.request(method, path, content=content, headers=headers, params=query)

    def create(self, job: str, **spec: Any) -> httpx.Response:
        """Create a minimal job with these fields of its spec."""
        return self.call("POST", self.jobs, job_manifest(job, **spec))


def annotate_namespace(api: httpx.Client, namespace: str, annotations: dict[str, str | None]) -> None:
    """Change a namespace's annotations, as an administrator."""
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": annotations}})
    api.patch(f"/api/v1/namespaces/{namespace}", content=body, headers=headers).raise_for_status()
