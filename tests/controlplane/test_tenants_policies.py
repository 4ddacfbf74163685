"""The admission policies: who sets labels of training pods, who gets GPUs and priority, what the operator may create.

Each refusal says why, and nothing that Kubernetes does by itself is hindered.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import RESTRICTED, kustomized
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import Object, World, job_manifest, restricted_pod
from devcluster.waiting import eventually
from tests.support import shapes
from tests.support.tenant import Tenant

MANIFESTS = REPOSITORY / "manifests"
JOBS_ONLY = {"gpurelay.dev/gpu-access": "jobs-only"}
OPERATOR = {"Impersonate-User": "system:serviceaccount:gpu-relay:gpu-relay"}
REPLICA_SETS = {"Impersonate-User": "system:serviceaccount:kube-system:replicaset-controller"}
MERGE = {"Content-Type": "application/merge-patch+json"}


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


@pytest.fixture
def pod(world: World, api: httpx.Client) -> str:
    """A running training pod with every label and annotation that one can have; its path."""
    job = world.apply_job("digits", suspend=True)
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    resources = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    template = {"spec": {"containers": [{"name": "trainer", "resources": resources}]}}
    api.post(pods, json=shapes.training(job, template), headers=OPERATOR).raise_for_status()
    world.run_pod("digits-1")
    return f"{pods}/digits-1"


def refused(answer: httpx.Response, sentence: str) -> None:
    assert answer.status_code == 403, answer.text
    assert sentence in answer.json()["message"]


# Labels and annotations of training and preparing pods


def test_the_policy_knows_every_key_that_the_operator_writes() -> None:
    job = {**job_manifest("digits"), "metadata": {"namespace": "vision", "name": "digits", "uid": "uid"}}
    policy = (MANIFESTS / "cluster" / "policies" / "reserved-labels.yaml").read_text()
    listed = re.search(r"\[('gpurelay\.dev/[^]]*)\]\.exists", policy)
    assert listed
    written = [pod["metadata"] for pod in (shapes.training(job), shapes.preparing(job))]
    keys = {
        key for meta in written for key in (*meta["labels"], *meta["annotations"]) if key.startswith("gpurelay.dev/")
    }
    assert set(re.findall("'([^']+)'", listed[1])) == keys


@pytest.mark.parametrize("part", ["", "/status"])
@pytest.mark.parametrize("kind", ["label", "annotation"])
def test_nobody_else_changes_a_key_of_the_operators(
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


def test_nobody_else_creates_a_pod_with_such_a_key(tenant: Tenant, world: World) -> None:
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


def test_what_else_is_done_to_training_pods_is_not_hindered(
    world: World, api: httpx.Client, tenant: Tenant, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """A tenant's own labels and finalizers, the kubelet's status, the garbage collector."""
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    pod = f"/api/v1/namespaces/{world.namespace}/pods/digits-1"
    own = {"labels": {"team": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.org/keep"]}
    assert tenant.call("PATCH", pod, {"metadata": own}).is_success
    kubelet = {"Impersonate-User": "system:node:node-1", "Impersonate-Group": "system:nodes", **MERGE}
    running = json.dumps({"status": {"phase": "Running", "message": "by the kubelet"}})
    assert api.patch(f"{pod}/status", content=running, headers=kubelet).is_success
    world.delete_job("digits", policy="Foreground")
    eventually(lambda: not world.exists("digits-1"), "the pod to be told to stop")
    assert tenant.call("PATCH", pod, {"metadata": {"finalizers": None}}).is_success
    world.obey("digits-1")
    eventually(lambda: not world.has_job("digits"), "the job to go after its pod")
    eventually(world.nothing_owed, "the Lease to be settled")


def test_keys_without_number_do_not_keep_the_kubelet_from_its_status(world: World, tenant: Tenant, pod: str) -> None:
    """An expression that costs more than the API server allows is refused, so the number of keys has a bound."""
    for kind in ("labels", "annotations"):
        few, many = (dict.fromkeys((f"k{number}" for number in range(count)), "") for count in (400, 501))
        refused(tenant.call("PATCH", pod, {"metadata": {kind: many}}), "at most 500 labels and 500 annotations")
        assert tenant.call("PATCH", pod, {"metadata": {kind: few}}).is_success
    world.set_pod("digits-1", phase="Running", message="still here")
    refused(tenant.call("PATCH", pod, {"metadata": {"labels": {"gpurelay.dev/attempt": "9"}}}), "the label")


# The PriorityClass


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


@pytest.mark.parametrize("overlay", ["base", "overlays/local", "overlays/page", "overlays/time-slicing"])
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


# GPUs in a team's namespace


def with_container(**fields: Any) -> Object:
    spec = restricted_pod("main", "x")
    spec["containers"][0] |= fields
    return {"spec": spec}


def with_spec(**fields: Any) -> Object:
    return {"spec": {**restricted_pod("main", "x"), **fields}}


GPU = {"limits": {"nvidia.com/gpu": "1"}}
TAKES: dict[str, tuple[Object, str]] = {
    "a GPU": (with_container(resources=GPU), "resources request a GPU"),
    "a slice": (with_container(resources={"limits": {"nvidia.com/mig-1g.5gb": "1"}}), "resources request a GPU"),
    "another maker's": (with_container(resources={"limits": {"amd.com/gpu": "1"}}), "resources request a GPU"),
    "for its start": (
        with_spec(initContainers=[{**restricted_pod("init", "x")["containers"][0], "resources": GPU}]),
        "resources request a GPU",
    ),
    "a claim": (
        with_spec(resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]),
        "resourceClaims are set",
    ),
    "all devices": (
        with_container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
        "env NVIDIA_VISIBLE_DEVICES is set",
    ),
    "devices by reference": (
        with_container(
            env=[{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]
        ),
        "env NVIDIA_VISIBLE_DEVICES is set",
    ),
    "devices by mounts": (
        with_spec(
            volumes=[{"name": "d", "emptyDir": {}}],
            containers=[
                {
                    **restricted_pod("main", "x")["containers"][0],
                    "volumeMounts": [{"name": "d", "mountPath": "/var/run/nvidia-container-devices/all"}],
                }
            ],
        ),
        "volumeMounts request devices",
    ),
    "devices by annotation": (
        {**with_spec(), "metadata": {"annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}}},
        "annotations request CDI devices",
    ),
    "the runtime": (with_spec(runtimeClassName="nvidia"), "runtimeClassName is that of NVIDIA"),
    "all of the node": (
        with_container(securityContext={"privileged": True}),
        "a container is privileged",
    ),
    "the node's files": (
        with_spec(volumes=[{"name": "dev", "hostPath": {"path": "/dev"}}]),
        "a volume is a hostPath",
    ),
}  # fmt: skip


@pytest.fixture
def borrower(tenant: Tenant, api: httpx.Client) -> Iterator[Tenant]:
    """A tenant whose namespace has the label of manifests/team, without its level of Pod Security."""
    labels = {**JOBS_ONLY, **dict.fromkeys(RESTRICTED, "privileged")}
    _label(api, tenant.namespace, labels)
    api.post("/apis/node.k8s.io/v1/runtimeclasses", json={"metadata": {"name": "nvidia"}, "handler": "nvidia"})
    probe = {"metadata": {"name": "probe"}, **with_container(resources=GPU)}
    path = f"/api/v1/namespaces/{tenant.namespace}/pods"
    eventually(lambda: tenant.call("POST", path, probe).status_code == 403, "the label to be in force")
    yield tenant
    api.delete("/apis/node.k8s.io/v1/runtimeclasses/nvidia")


def _label(api: httpx.Client, namespace: str, labels: Mapping[str, str | None]) -> None:
    body = json.dumps({"metadata": {"labels": labels}})
    api.patch(f"/api/v1/namespaces/{namespace}", content=body, headers=MERGE).raise_for_status()


def test_gpus_of_a_team_are_for_jobs(borrower: Tenant, api: httpx.Client) -> None:
    path = f"/api/v1/namespaces/{borrower.namespace}/pods"
    for name, (body, sentence) in TAKES.items():
        meta = {"name": "plain", **body.get("metadata", {})}
        answer = borrower.call("POST", path, {**body, "metadata": meta})
        assert answer.status_code == 403, name
        assert f"{sentence}: in namespace {borrower.namespace}" in answer.json()["message"]
    void = with_container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}], resources={"limits": {"cpu": "1"}})
    plain = borrower.call("POST", path, {"metadata": {"name": "plain"}, **void})
    assert plain.is_success, plain.text
    debug = {"name": "debug", "image": "x", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}
    answer = borrower.call("PATCH", f"{path}/plain/ephemeralcontainers", {"spec": {"ephemeralContainers": [debug]}})
    refused(answer, "env NVIDIA_VISIBLE_DEVICES is set")
    _label(api, borrower.namespace, {"gpurelay.dev/gpu-access": None})
    taken = {"metadata": {"name": "elsewhere"}, **with_container(resources=GPU)}
    eventually(lambda: borrower.call("POST", path, taken).is_success, "GPUs to be for all again")


def test_jobs_of_such_a_team_train(
    borrower: Tenant, world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    assert world.training_pods()[0]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    training = f"/api/v1/namespaces/{world.namespace}/pods/digits-1/ephemeralcontainers"
    debug = {"name": "debug", "image": "x"}
    assert borrower.call("PATCH", training, {"spec": {"ephemeralContainers": [debug]}}).is_success
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")


@pytest.mark.parametrize("kustomization", ["team", "overlays/local"])
def test_a_teams_namespace_has_the_label(cluster: Cluster, kustomization: str) -> None:
    namespaces = [o for o in kustomized(cluster, MANIFESTS / kustomization) if o["kind"] == "Namespace"]
    team = next(each for each in namespaces if each["metadata"]["name"] in {"team", "vision"})
    assert JOBS_ONLY.items() <= team["metadata"]["labels"].items()


# What the operator's account may do


def operators(api: httpx.Client, pod: Object) -> httpx.Response:
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"
    return api.post(path, json=pod, headers=OPERATOR, params={"dryRun": "All"})


@pytest.fixture
def anything_goes(world: World, api: httpx.Client) -> None:
    """No level of Pod Security: what is refused, our policies refuse."""
    _label(api, world.namespace, dict.fromkeys(RESTRICTED, "privileged"))


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
    local = next(yaml.safe_load_all((MANIFESTS / "overlays" / "local" / "operator.yaml").read_text().split("---")[1]))
    templates = [{}, yaml.safe_load(local["data"]["template.yaml"])["spec"], *TEMPLATES.values()]
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
    api.post(pods, json=shapes.training(job), headers=OPERATOR).raise_for_status()
    jobs = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"

    def delete(path: str) -> httpx.Response:
        return api.request("DELETE", path, params={"dryRun": "All"}, headers=OPERATOR)

    refused(delete(f"{pods}/plain"), "the operator may only delete pods of jobs")
    refused(delete(f"{jobs}/kept"), "the operator may only delete jobs with spec.ttlSecondsAfterFinished")
    for path in (f"{pods}/kept-1", f"{pods}/sam3", f"{jobs}/passing"):
        assert delete(path).is_success, path


# All of them


def test_no_expression_is_wrong_by_its_types(cluster: Cluster, api: httpx.Client) -> None:
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
