"""The policy on reserved labels and annotations: only the operator sets them on pods of jobs."""

import json
import re

import httpx
import pytest

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support import shapes
from tests.support.tenant import AS_OPERATOR, MERGE_PATCH, Tenant, refused

MANIFESTS = REPOSITORY / "manifests"


@pytest.fixture
def pod(world: World, api: httpx.Client) -> str:
    """A running training pod with every label and annotation that one can have; its path."""
    job = world.apply_job("digits", suspend=True)
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    resources = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    template = {"spec": {"containers": [{"name": "trainer", "resources": resources}]}}
    api.post(pods, json=shapes.training(job, template), headers=AS_OPERATOR).raise_for_status()
    world.run_pod("digits-1")
    return f"{pods}/digits-1"


def test_the_policy_knows_every_key_that_the_operator_writes() -> None:
    job = {**job_manifest("digits"), "metadata": {"namespace": "vision", "name": "digits", "uid": "uid"}}
    policy = (MANIFESTS / "cluster" / "policies" / "reserved-labels.yaml").read_text()
    listed = re.search(r"\[('gpurelay\.dev/[^]]*)\]\.exists", policy)
    assert listed
    written = [pod["metadata"] for pod in (shapes.training(job), shapes.preparing(job))]
    keys = {
        key for meta in written for key in (*meta["labels"], *meta["annotations"]) if key.startswith("gpurelay.dev/")
    }
    assert set(re.findall("'([^']+)'", listed[1])) == keys | {"gpurelay.dev/turns", "gpurelay.dev/workload-uid"}, (
        "the last two are those of an admission check"
    )


@pytest.mark.parametrize("part", ["", "/status"])
@pytest.mark.parametrize("kind", ["label", "annotation"])
def test_only_the_operator_changes_its_keys(
    world: World, api: httpx.Client, tenant: Tenant, pod: str, kind: str, part: str
) -> None:
    before = api.get(pod).json()["metadata"]
    kept = {key: value for key, value in before[f"{kind}s"].items() if key.startswith("gpurelay.dev/")}
    assert len(kept) == (6 if kind == "label" else 2)
    changes: dict[str, list[str | None]] = {key: ["9" * 30, None] for key in kept}
    changes |= {"gpurelay.dev/resident": ["sam3"], "gpurelay.dev/whatever": ["x"]}
    if kind == "annotation":
        changes["gpurelay.dev/proven-free-mib"].append("9" * 5000)
    for key, values in changes.items():
        for value in values:
            refused(
                tenant.call("PATCH", pod + part, {"metadata": {f"{kind}s": {key: value}}}),
                f"the {kind} {key} is reserved for the operator",
            )
    assert api.get(pod).json()["metadata"][f"{kind}s"] == before[f"{kind}s"]


def test_other_parts_of_the_pod_keep_its_metadata(tenant: Tenant, api: httpx.Client, pod: str) -> None:
    """The API server ignores labels in requests to these subresources: there is nothing to refuse."""
    before = api.get(pod).json()["metadata"]
    body = {"metadata": {"labels": {"gpurelay.dev/attempt": "9"}, "annotations": {"gpurelay.dev/job": "x"}}}
    assert tenant.call("PATCH", f"{pod}/ephemeralcontainers", body).is_success
    assert tenant.call("PATCH", f"{pod}/resize", body).status_code == 422, "its node supports no resize"
    after = api.get(pod).json()["metadata"]
    assert (after["labels"], after["annotations"]) == (before["labels"], before["annotations"])


def test_a_binding_brings_no_key_of_the_operators(tenant: Tenant, world: World) -> None:
    """What a binding has of labels and annotations, the API server copies to the pod."""
    world.create_pod("plain")
    pods = f"/api/v1/namespaces/{world.namespace}"
    for kind, key in (("labels", "gpurelay.dev/gpu"), ("annotations", "gpurelay.dev/proven-free-mib")):
        body = {"metadata": {"name": "plain", kind: {key: "x"}}, "target": {"kind": "Node", "name": "node-1"}}
        for path in (f"{pods}/pods/plain/binding", f"{pods}/bindings"):
            refused(tenant.call("POST", path, body), f"{key} is reserved for the operator")


def test_only_the_operator_creates_a_pod_with_its_keys(tenant: Tenant, world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/pods"
    job = {**job_manifest("digits"), "metadata": {"namespace": world.namespace, "name": "digits", "uid": "uid"}}
    for name, meta in (("t", shapes.training(job)["metadata"]), ("p", shapes.preparing(job)["metadata"])):
        for kind in ("labels", "annotations"):
            for key in meta[kind]:
                if key.startswith("gpurelay.dev/"):
                    body = {"metadata": {"name": name, kind: {key: "x"}}, "spec": restricted_pod("main", "x")}
                    refused(
                        tenant.call("POST", path, body),
                        f"the {kind[:-1]} {key} is reserved for the operator: create a Yolo",
                    )


def test_controllers_with_the_right_create_pods_of_workloads(
    cluster: Cluster, world: World, api: httpx.Client, tenant: Tenant
) -> None:
    """Kueue has the Job controller copy the labels of an admission check; only the component permits that."""
    component, path = str(MANIFESTS / "components/kueue/rbac.yaml"), f"/api/v1/namespaces/{world.namespace}/pods"
    labels = {"gpurelay.dev/gpu": "gpu-1", "gpurelay.dev/fence": "7", "gpurelay.dev/workload-uid": "u"}
    annotations = {"gpurelay.dev/gpu-memory": "10Gi", "gpurelay.dev/proven-free-mib": "14000"}
    pod = {"metadata": {"name": "w", "labels": labels, "annotations": annotations}, "spec": restricted_pod("main", "x")}
    controller = {"Impersonate-User": "system:serviceaccount:kube-system:job-controller"}
    refused(api.post(path, json=pod, headers=controller), "is reserved for the operator")
    cluster.kubectl("apply", "-f", component)
    eventually(lambda: api.post(path, json=pod, headers=controller).is_success, "the Job controller's pod")
    refused(tenant.call("PATCH", f"{path}/w", {"metadata": {"labels": {"gpurelay.dev/fence": "8"}}}), "is reserved")
    pod["metadata"] = {"name": "x", "labels": {**labels, "gpurelay.dev/job-uid": "j"}}
    refused(api.post(path, json=pod, headers=controller), "is reserved for the operator")
    cluster.kubectl("delete", "-f", component)


def test_other_changes_of_training_pods_are_admitted(
    world: World, api: httpx.Client, tenant: Tenant, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """A tenant's own labels and finalizers, the kubelet's status, the garbage collector."""
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    pod = f"/api/v1/namespaces/{world.namespace}/pods/digits-1"
    own = {"labels": {"team": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.org/keep"]}
    assert tenant.call("PATCH", pod, {"metadata": own}).is_success
    kubelet = {"Impersonate-User": "system:node:node-1", "Impersonate-Group": "system:nodes", **MERGE_PATCH}
    running = json.dumps({"status": {"phase": "Running", "message": "by the kubelet"}})
    assert api.patch(f"{pod}/status", content=running, headers=kubelet).is_success
    world.delete_job("digits", policy="Foreground")
    eventually(lambda: not world.exists("digits-1"), "the pod to be asked to stop")
    assert tenant.call("PATCH", pod, {"metadata": {"finalizers": None}}).is_success
    world.delete_as_kubelet("digits-1")
    eventually(lambda: not world.has_job("digits"), "the job to go after its pod")
    eventually(world.no_reload_pending, "the Lease to be settled")


def test_many_keys_do_not_block_the_kubelets_status(world: World, tenant: Tenant, pod: str) -> None:
    """An expression that costs more than the API server allows is refused, so the number of keys has a bound."""
    for kind in ("labels", "annotations"):
        few, many = (dict.fromkeys((f"k{number}" for number in range(count)), "") for count in (400, 501))
        refused(tenant.call("PATCH", pod, {"metadata": {kind: many}}), "at most 500 labels and 500 annotations")
        assert tenant.call("PATCH", pod, {"metadata": {kind: few}}).is_success
    world.set_pod("digits-1", phase="Running", message="still here")
    refused(tenant.call("PATCH", pod, {"metadata": {"labels": {"gpurelay.dev/attempt": "9"}}}), "the label")
