"""The policy on GPU access: in a team's namespace, only pods of jobs get a GPU."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import RESTRICTED, kustomized
from devcluster.scripted.manifests import Object, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.tenant import Tenant, label_namespace, refused, with_container

MANIFESTS = REPOSITORY / "manifests"
JOBS_ONLY = {"gpurelay.dev/gpu-access": "jobs-only"}


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
    "a ResourceClaim": (
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
    label_namespace(api, tenant.namespace, labels)
    api.post("/apis/node.k8s.io/v1/runtimeclasses", json={"metadata": {"name": "nvidia"}, "handler": "nvidia"})
    probe = {"metadata": {"name": "probe"}, **with_container(resources=GPU)}
    path = f"/api/v1/namespaces/{tenant.namespace}/pods"
    eventually(lambda: tenant.call("POST", path, probe).status_code == 403, "the label to be in force")
    yield tenant
    api.delete("/apis/node.k8s.io/v1/runtimeclasses/nvidia")


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
    label_namespace(api, borrower.namespace, {"gpurelay.dev/gpu-access": None})
    taken = {"metadata": {"name": "elsewhere"}, **with_container(resources=GPU)}
    eventually(lambda: borrower.call("POST", path, taken).is_success, "GPUs to be for all again")


def test_jobs_of_a_team_train(
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
