"""The right to create jobs in a namespace gives no more than the right to create pods there: a tenant tries."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from devcluster.scripted.furnished import create_namespace
from devcluster.scripted.manifests import Object, job_manifest, restricted_pod
from tests.support.tenant import Tenant

NAMESPACE = "tenant-escapes"
UNKNOWN = 'unknown field "spec.podTemplate.{}"'
CORE, JOBS = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/gpurelay.dev/v1alpha1/namespaces/{NAMESPACE}/yolotrainingjobs"
SYSTEM = "/api/v1/namespaces/gpu-relay"


@pytest.fixture(scope="module")
def tenant(api: httpx.Client) -> Iterator[Tenant]:
    """A tenant with an honest job `digits` and an honest pod `plain`."""
    create_namespace(api, NAMESPACE)
    tenant = Tenant(api, NAMESPACE)
    tenant.create("digits", suspend=True).raise_for_status()
    pod = {"metadata": {"name": "plain"}, "spec": restricted_pod("main", "x")}
    tenant.call("POST", f"{CORE}/pods", pod).raise_for_status()
    yield tenant
    api.delete(JOBS)
    api.delete(f"/api/v1/namespaces/{NAMESPACE}")


def pod(**template: Any) -> Object:
    return {"podTemplate": template}


def env(name: str, **rest: Any) -> Object:
    return pod(env=[{"name": name, **(rest or {"value": "x"})}])


ESCAPES: dict[str, tuple[Object, str]] = {
    # fields of a pod that a job does not have
    "host network": (pod(hostNetwork=True), UNKNOWN.format("hostNetwork")),
    "host processes": (pod(hostPID=True), UNKNOWN.format("hostPID")),
    "host IPC": (pod(hostIPC=True), UNKNOWN.format("hostIPC")),
    "host path": (pod(volumes=[{"name": "root", "hostPath": {"path": "/"}}]), UNKNOWN.format("volumes")),
    "mounts": (pod(volumeMounts=[{"name": "root", "mountPath": "/host"}]), UNKNOWN.format("volumeMounts")),
    "privileged": (pod(securityContext={"privileged": True}), UNKNOWN.format("securityContext")),
    "further containers": (pod(containers=[{"name": "x", "image": "x"}]), UNKNOWN.format("containers")),
    "init containers": (pod(initContainers=[{"name": "x", "image": "x"}]), UNKNOWN.format("initContainers")),
    "another command": (pod(command=["sh"]), UNKNOWN.format("command")),
    "a mounted token": (pod(automountServiceAccountToken=True), UNKNOWN.format("automountServiceAccountToken")),
    "a node by name": (pod(nodeName="control-plane"), UNKNOWN.format("nodeName")),
    "affinity": (pod(affinity={}), UNKNOWN.format("affinity")),
    "priority class": (pod(priorityClassName="system-node-critical"), UNKNOWN.format("priorityClassName")),
    "runtime class": (pod(runtimeClassName="nvidia"), UNKNOWN.format("runtimeClassName")),
    "another scheduler": (pod(schedulerName="mine"), UNKNOWN.format("schedulerName")),
    "labels of a training pod": (pod(labels={"gpurelay.dev/gpu": "x"}), UNKNOWN.format("labels")),
    # the GPU, and how it is measured
    "more GPUs": (pod(resources={"limits": {"nvidia.com/gpu": "8"}}), "the GPU comes from spec.gpu"),
    "GPUs by request": (pod(resources={"requests": {"amd.com/gpu": 1}}), "the GPU comes from spec.gpu"),
    "a container's ResourceClaim": (pod(resources={"claims": [{"name": "gpu"}]}), UNKNOWN.format("resources.claims")),
    "all devices visible": (env("NVIDIA_VISIBLE_DEVICES"), "which GPU the training uses"),
    "another device": (env("CUDA_VISIBLE_DEVICES"), "which GPU the training uses"),
    "another job file": (env("GPU_RELAY_JOB_FILE"), "are reserved"),
    "a GPU of one's own": (env("GPU_RELAY_SIMULATED_GPU"), "are reserved"),
    "another driver": (env("LD_LIBRARY_PATH"), "are reserved"),
    "preloaded code": (env("LD_PRELOAD"), "are reserved"),
    # what belongs to others
    "another's PVC for data": (
        {"dataset": {"persistentVolumeClaim": {"claimName": "other/data"}}}, "in the job's own namespace"),
    "another's PVC for results": (
        {"output": {"persistentVolumeClaim": {"claimName": "../results"}}}, "in the job's own namespace"),
    "another's account": (pod(serviceAccountName="kube-system:admin"), "in the job's own namespace"),
    "another's pull secret": (pod(imagePullSecrets=[{"name": "kube-system/key"}]), "in the job's own namespace"),
    "another's secret": (
        env("KEY", valueFrom={"secretKeyRef": {"name": "kube-system/key", "key": "k"}}), "in the job's own namespace"),
    "another's ResourceClaim": (
        {"gpu": {"memory": "1Gi", "resourceClaimName": "other/gpu"}}, "in the job's own namespace"),
    "a secret by namespace": (
        env("KEY", valueFrom={"secretKeyRef": {"name": "key", "key": "k", "namespace": "kube-system"}}),
        "valueFrom.secretKeyRef.namespace"),
    "out of the volume": (
        {"output": {"persistentVolumeClaim": {"claimName": "r"}, "path": "../../etc"}}, "no '..'"),
    "the node's files": ({"dataset": {"uri": "file:///etc/shadow"}}, "spec.dataset.uri"),
    # placement
    "every taint": (pod(tolerations=[{"operator": "Exists"}]), "may not tolerate all taints"),
    "the control plane": (
        pod(tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        "may not tolerate the taint of control-plane nodes"),
    # more than fits
    "maps in arguments": ({"training": {"args": {"x": {"y": 1}}}}, "spec.training.args.x: Too many"),
    "many arguments": ({"training": {"args": {f"a{i}": 1 for i in range(200)}}}, "at most 64"),
    "long values": ({"training": {"args": {"x": "y" * 2000}}}, "may not be more than 512"),
    "much environment": (pod(env=[{"name": f"E{i}", "value": ""} for i in range(100)]), "must have at most 64 items"),
    "large environment": (
        pod(env=[{"name": f"E{i}", "value": "x" * 4000} for i in range(5)]), "at most 16,384 characters in total"),
    "long lists": ({"training": {"args": {"x": list(range(100))}}}, "must have at most 64 items"),
    "long values of lists": ({"training": {"args": {"x": ["y" * 100]}}}, "may not be more than 32"),
    "long names of labels": (pod(nodeSelector={"x" * 1000: "y"}), "the name of a label has at most 317 characters"),
    "long names of resources": (
        pod(resources={"limits": {"hugepages-" + "x" * 1000: "1"}}), "the name of a resource has at most 63"),
    "long quantities": (pod(resources={"limits": {"cpu": "0" * 1000 + "1"}}), "may not be more than 63"),
    "a name twice": (pod(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), "Duplicate value"),
    "a name of another kind": (pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]),
                               "value or valueFrom, not both"),
}  # fmt: skip


def test_depth_is_refused(tenant: Tenant) -> None:
    """JSON that nests without end ends every program that reads it, and all jobs are read by one operator."""
    manifest = json.dumps(job_manifest("escape", training={"args": {"x": "deep"}}))
    answer = tenant.call("POST", JOBS, manifest.replace('"deep"', "[" * 3000 + "]" * 3000))
    assert answer.status_code == 422
    assert "spec.training.args.x[0]: Too many" in answer.json()["message"]


@pytest.mark.parametrize("name", ESCAPES)
def test_through_a_job(tenant: Tenant, name: str) -> None:
    spec, sentence = ESCAPES[name]
    answer = tenant.create("escape", **spec)
    assert answer.status_code in {400, 403, 422}
    assert sentence in answer.json()["message"]


FAKE = {"name": "fake", "labels": {"gpurelay.dev/gpu": "gpu-1", "gpurelay.dev/job": "digits"}}
BESIDE: dict[str, tuple[tuple[str, str, Object], str]] = {
    "a fake training": (
        ("POST", f"{CORE}/pods", {"metadata": FAKE, "spec": restricted_pod("main", "x")}),
        "create a YoloTrainingJob instead",
    ),
    "a pod made a training": (
        ("PATCH", f"{CORE}/pods/plain", {"metadata": {"labels": {"gpurelay.dev/gpu": "gpu-1"}}}),
        "the label gpurelay.dev/gpu is reserved for the operator",
    ),
    "a pod on a node of one's choice": (
        (
            "POST",
            f"{CORE}/pods/plain/binding",
            {"metadata": {"name": "x"}, "target": {"kind": "Node", "name": "node-1"}},
        ),
        "cannot create resource",
    ),
    "success by hand": (
        ("PATCH", f"{JOBS}/digits/status", {"status": {"phase": "Succeeded"}}),
        "cannot patch resource",
    ),
    "another model": (("PATCH", f"{JOBS}/digits", {"spec": {"model": "other.pt"}}), "create a new job instead"),
    "another PVC": (
        ("PATCH", f"{JOBS}/digits", {"spec": {"output": {"persistentVolumeClaim": {"claimName": "x"}}}}),
        "create a new job instead",
    ),
    "a job elsewhere": (("POST", JOBS.replace(NAMESPACE, "default"), job_manifest("x")), "cannot create resource"),
    "a GPU by Lease": (
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases", {"metadata": {"name": "gpu-1"}}),
        'cannot create resource "leases"',
    ),
    "settings of the operator": (("PATCH", f"{SYSTEM}/configmaps/gpu-relay", {"data": {}}), "cannot patch resource"),
    "the operator's token": (("POST", f"{SYSTEM}/serviceaccounts/gpu-relay/token", {}), "cannot create resource"),
    "limits of one's namespace": (("PATCH", CORE, {"metadata": {"annotations": {"a": "b"}}}), "cannot patch resource"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_beside_a_job(tenant: Tenant, name: str) -> None:
    request, sentence = BESIDE[name]
    answer = tenant.call(*request)
    assert answer.status_code in {403, 422}
    assert sentence in answer.json()["message"]
