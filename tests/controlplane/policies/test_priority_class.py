"""The policy on the PriorityClass `gpu-relay`: the relay's own pods use it, and pods with a grant."""

import copy

import httpx
import pytest

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.manifests import restricted_pod
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.tenant import Tenant, refused

MANIFESTS = REPOSITORY / "manifests"
REPLICA_SETS = {"Impersonate-User": "system:serviceaccount:kube-system:replicaset-controller"}


def test_the_relays_priority_is_for_the_relay(tenant: Tenant, api: httpx.Client, world: World) -> None:
    spec = {**restricted_pod("main", "x"), "priorityClassName": "gpu-relay"}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    sentence = f"service account default of namespace {world.namespace} may not use it"
    refused(tenant.call("POST", pods, {"metadata": {"name": "greedy"}, "spec": spec}), sentence)
    deployment = {
        "metadata": {"name": "greedy"},
        "spec": {
            "selector": {"matchLabels": {"app": "greedy"}},
            "template": {"metadata": {"labels": {"app": "greedy"}}, "spec": spec},
        },
    }
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments"
    assert tenant.call("POST", path, deployment).is_success, "a template is no pod"
    failure = eventually(lambda: _failure(api, f"{path}/greedy"), "the ReplicaSet's failure")
    assert sentence in failure
    spec["priorityClassName"] = "gpu-relay-training"
    assert tenant.call("POST", pods, {"metadata": {"name": "modest"}, "spec": spec}).is_success


def _failure(api: httpx.Client, deployment: str) -> str:
    conditions = api.get(deployment).json().get("status", {}).get("conditions", [])
    return next((c["message"] for c in conditions if c["type"] == "ReplicaFailure"), "")


@pytest.mark.parametrize("overlay", ["base", "overlays/local", "overlays/page", "overlays/gpu-node"])
def test_the_relays_own_pods_are_created_by_their_controllers(
    cluster: Cluster, api: httpx.Client, overlay: str
) -> None:
    """Its templates, from the controller that creates the pods of Deployments, in the namespace of the install."""
    deployments = [each for each in kustomized(cluster, MANIFESTS / overlay) if each["kind"] == "Deployment"]
    for account in {each["spec"]["template"]["spec"]["serviceAccountName"] for each in deployments}:
        api.post("/api/v1/namespaces/gpu-relay/serviceaccounts", json={"metadata": {"name": account}})
    assert deployments
    for deployment in deployments:
        template = copy.deepcopy(deployment["spec"]["template"])
        template["metadata"]["generateName"] = "pod-"
        path = "/api/v1/namespaces/gpu-relay/pods"
        answer = api.post(path, json=template, headers=REPLICA_SETS, params={"dryRun": "All"})
        assert answer.is_success, answer.text


def test_a_resident_elsewhere_needs_the_grant(api: httpx.Client, world: World) -> None:
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}"
    pod = {
        "metadata": {"name": "sam3", "labels": {"gpurelay.dev/resident": "sam3"}},
        "spec": {**restricted_pod("main", "x"), "priorityClassName": "gpu-relay"},
    }
    path = f"/api/v1/namespaces/{world.namespace}/pods"

    def create() -> httpx.Response:
        return api.post(path, json=pod, headers=REPLICA_SETS, params={"dryRun": "All"})

    refused(create(), "ask an administrator for the verb use")
    binding = {
        "metadata": {"name": "resident"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "resident"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": world.namespace}],
    }
    rule = {
        "apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"], "resourceNames": ["gpu-relay"],
        "verbs": ["use"],
    }  # fmt: skip
    api.post(f"{roles}/roles", json={"metadata": {"name": "resident"}, "rules": [rule]}).raise_for_status()
    api.post(f"{roles}/rolebindings", json=binding).raise_for_status()
    eventually(lambda: create().is_success, "the grant to be in force")
