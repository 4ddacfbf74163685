"""The policies on the operator's account: pods of jobs, jobs that may expire, one label of nodes, and nothing else."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import RESTRICTED
from devcluster.scripted.manifests import Object, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support import shapes
from tests.support.tenant import AS_OPERATOR, label_namespace, refused, with_container

MANIFESTS = REPOSITORY / "manifests"


def operators(api: httpx.Client, pod: Object) -> httpx.Response:
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
    return api.post(path, json=pod, headers=AS_OPERATOR, params={"dryRun": "All"})


@pytest.fixture
def anything_goes(world: World, api: httpx.Client) -> None:
    """No level of Pod Security: what is refused, our policies refuse."""
    label_namespace(api, world.namespace, dict.fromkeys(RESTRICTED, "privileged"))


def in_trainer(**fields: Any) -> Object:
    return {"containers": [{"name": "trainer", **fields}]}


TEMPLATES: dict[str, Object] = {
    "a sidecar": {
        "containers": [{"name": "log-shipper", "image": "x", "env": [{"name": "A", "value": "b"}]}],
        "initContainers": [{"name": "fetch", "image": "x", "restartPolicy": "Always"}],
    },
    "the runtime": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"pool": "gpu"}},
    "volumes": {
        "volumes": [
            {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
            {"name": "ca", "configMap": {"name": "ca"}},
            {
                "name": "cloud",
                "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "sts.amazonaws.com"}}]},
            },
        ]
    },
    "priority": {"priorityClassName": "gpu-relay-training"},
}
FORBIDDEN: dict[str, tuple[Object, str]] = {
    "host network": ({"hostNetwork": True}, "hostNetwork, hostPID"),
    "host processes": ({"hostPID": True}, "hostNetwork, hostPID"),
    "host IPC": ({"hostIPC": True}, "hostNetwork, hostPID"),
    "host port": (
        {"containers": [{"name": "side", "image": "x", "ports": [{"containerPort": 1, "hostPort": 1}]}]}, "hostPort"),
    "privileged": (in_trainer(securityContext={"privileged": True}), "containers of jobs may not be privileged"),
    "a privileged sidecar": (
        {"containers": [{"name": "side", "image": "x", "securityContext": {"privileged": True}}]},
        "containers of jobs may not be privileged"),
    "a privileged init container": (
        {"initContainers": [{"name": "side", "image": "x", "securityContext": {"privileged": True}}]},
        "containers of jobs may not be privileged"),
    "a capability": (
        in_trainer(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        "containers of jobs may not be privileged"),
    "host path": ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "pods of jobs may not have a hostPath"),
    "a token": ({"automountServiceAccountToken": True}, "may not have a token for the API server"),
    "a projected token": (
        {"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
        "may not have a token for the API server"),
    "priority": ({"priorityClassName": "system-node-critical"}, "may not have a system-* PriorityClass"),
    "the relay's priority": ({"priorityClassName": "gpu-relay"}, "the PriorityClass gpu-relay is for the operator"),
}  # fmt: skip


def test_the_operator_creates_pods_of_jobs(world: World, api: httpx.Client) -> None:
    job = world.apply_job("digits", suspend=True)
    shipped = [yaml.safe_load(file.read_text())["spec"] for file in MANIFESTS.glob("**/trainer-pod-template.yaml")]
    assert shipped
    templates = [{}, *shipped, *TEMPLATES.values()]
    for spec in templates:
        for pod in (shapes.training(job, {"spec": spec}), shapes.preparing(job, {"spec": spec})):
            _restrict(pod)
            answer = operators(api, pod)
            assert answer.is_success, answer.text


def _restrict(pod: Object) -> None:
    """Give sidecars what the level `restricted` asks for."""
    for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])):
        container.setdefault("securityContext", restricted_pod("x", "x")["containers"][0]["securityContext"])


def test_the_operator_creates_no_pod_of_another_shape(world: World, api: httpx.Client, anything_goes: None) -> None:
    job = world.apply_job("digits", suspend=True)
    for name, (spec, sentence) in FORBIDDEN.items():
        for pod in (shapes.training(job, {"spec": spec}), shapes.preparing(job, {"spec": spec})):
            answer = operators(api, pod)
            assert answer.status_code == 403, name
            assert sentence in answer.json()["message"]


def test_the_operator_creates_no_pod_without_a_job(world: World, api: httpx.Client, anything_goes: None) -> None:
    job = world.apply_job("digits", suspend=True)
    honest = shapes.training(job)
    owner = honest["metadata"]["ownerReferences"][0]
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "digits", "uid": owner["uid"], "controller": True}
    for owners in (
        [],
        [other],
        [{**owner, "uid": "other"}],
        [{**owner, "controller": False}],
        [owner, other | {"controller": False}],
    ):
        refused(operators(api, _meta(honest, ownerReferences=owners)), "the YoloTrainingJob that their labels name")
    for label in ("app.kubernetes.io/name", "app.kubernetes.io/managed-by", "gpurelay.dev/gpu"):
        labels = {key: value for key, value in honest["metadata"]["labels"].items() if key != label}
        refused(operators(api, _meta(honest, labels=labels)), "training and preparing pods, with their labels")
    plain = {
        "metadata": {"name": "plain", "namespace": "kube-system"},
        **with_container(securityContext={"privileged": True}),
    }
    refused(operators(api, plain), "the operator may only create")
    assert api.post(f"/api/v1/namespaces/{world.namespace}/pods", json=_meta(honest, ownerReferences=[])).is_success, (
        "an administrator may"
    )


def _meta(pod: Object, **fields: Any) -> Object:
    return {**pod, "metadata": {**pod["metadata"], **fields}}


def test_the_operator_deletes_nothing_else(world: World, api: httpx.Client, resident: ScriptedResident) -> None:
    world.create_pod("plain")
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    job = world.apply_job("kept", suspend=True)
    world.apply_job("passing", suspend=True, ttlSecondsAfterFinished=60)
    api.post(pods, json=shapes.training(job), headers=AS_OPERATOR).raise_for_status()
    jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"

    def delete(path: str) -> httpx.Response:
        return api.request("DELETE", path, params={"dryRun": "All"}, headers=AS_OPERATOR)

    refused(delete(f"{pods}/plain"), "the operator may only delete pods of jobs")
    refused(delete(f"{jobs}/kept"), "the operator may only delete jobs with spec.ttlSecondsAfterFinished")
    for path in (f"{pods}/kept-1", f"{pods}/sam3", f"{jobs}/passing"):
        assert delete(path).is_success, path


@pytest.fixture
def labels_nodes(world: World, api: httpx.Client) -> Iterator[None]:
    """The right that the component for Kueue gives the operator."""
    roles, name = "/apis/rbac.authorization.k8s.io/v1", world.namespace
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}]
    api.post(f"{roles}/clusterroles", json={"metadata": {"name": name}, "rules": rules}).raise_for_status()
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": AS_OPERATOR["Impersonate-User"]}],
    }
    api.post(f"{roles}/clusterrolebindings", json=binding).raise_for_status()
    probe, headers = "/api/v1/nodes/none", {**AS_OPERATOR, "Content-Type": "application/merge-patch+json"}
    eventually(lambda: api.patch(probe, json={}, headers=headers).status_code == 404, "the right to patch nodes")
    yield
    for plural in ("clusterrolebindings", "clusterroles"):
        api.delete(f"{roles}/{plural}/{name}")


def test_the_operator_changes_one_label_of_nodes(api: httpx.Client, labels_nodes: None) -> None:
    def patch(body: Object) -> httpx.Response:
        headers = {**AS_OPERATOR, "Content-Type": "application/merge-patch+json"}
        return api.patch("/api/v1/nodes/node-1", json=body, headers=headers, params={"dryRun": "All"})

    sentence = "the operator may only change the label gpurelay.dev/pin of nodes"
    for labels in ({"pool": "gpu"}, {"kubernetes.io/hostname": None}, {"kubernetes.io/hostname": "other"}):
        refused(patch({"metadata": {"labels": labels}}), sentence)
    for body in (
        {"spec": {"unschedulable": True}},
        {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"finalizers": ["gpurelay.dev/x"]}},
    ):
        refused(patch(body), sentence)
    for value in ("7f3a", None):
        assert patch({"metadata": {"labels": {"gpurelay.dev/pin": value}}}).is_success
