"""Fixtures of the tests of admission policies."""

import httpx
import pytest

from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.tenant import Tenant


@pytest.fixture
def tenant(world: World, api: httpx.Client) -> Tenant:
    """A tenant who besides may write `pods/status`, `pods/binding` and ephemeral containers."""
    tenant = Tenant(api, world.namespace)
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}"
    resources = ["pods/status", "pods/binding", "bindings", "pods/ephemeralcontainers", "pods/resize"]
    rules = [{"apiGroups": [""], "resources": resources, "verbs": ["create", "patch", "update"]}]
    api.post(f"{roles}/roles", json={"metadata": {"name": "more"}, "rules": rules}).raise_for_status()
    binding = {
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "more"},
        "subjects": [{"kind": "User", "name": "tenant"}],
    }
    api.post(f"{roles}/rolebindings", json=binding).raise_for_status()
    probe = f"/api/v1/namespaces/{world.namespace}/pods/none/status"
    eventually(lambda: tenant.call("PATCH", probe, {}).status_code == 404, "the further rights")
    return tenant
