"""All our pods pass Pod Security's level `restricted`, which every namespace of this layer enforces."""

from typing import Any

import httpx
import pytest

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.manifests import restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World

Object = dict[str, Any]
MANIFESTS = REPOSITORY / "manifests"
INSTALLATIONS = ["base", *sorted(f"overlays/{folder.name}" for folder in (MANIFESTS / "overlays").iterdir())]


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_the_api_server_takes_the_pods_of_every_deployment(
    cluster: Cluster, world: World, api: httpx.Client, installation: str
) -> None:
    objects = kustomized(cluster, MANIFESTS / installation)
    templates = {o["metadata"]["name"]: o["spec"]["template"] for o in objects if o["kind"] == "Deployment"}
    page = {"gpu-relay-page"} if installation == "overlays/page" else set()
    assert set(templates) == {"gpu-relay", "sam3"} | page
    for name, template in templates.items():
        _expect_hardened(template["spec"])
        account = {"metadata": {"name": template["spec"]["serviceAccountName"]}}
        api.post(f"/api/v1/namespaces/{world.namespace}/serviceaccounts", json=account).raise_for_status()
        pod = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        answer = api.post(f"/api/v1/namespaces/{world.namespace}/pods", params={"dryRun": "All"}, json=pod)
        assert answer.is_success, answer.text
    namespaces = [o for o in objects if o["kind"] == "Namespace"]
    assert namespaces
    for namespace in namespaces:
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_training_pods_are_hardened_and_have_no_token(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", podTemplate={"serviceAccountName": "default"})
    world.shows_pod("digits-1")
    spec = world.training_pods()[0]["spec"]
    _expect_hardened(spec)
    assert spec["automountServiceAccountToken"] is False
    assert not [volume for volume in spec["volumes"] if "projected" in volume or "hostPath" in volume]


def test_a_privileged_pod_is_refused_here(world: World, api: httpx.Client) -> None:
    spec = restricted_pod("main", "x")
    spec["containers"][0]["securityContext"] |= {"privileged": True, "allowPrivilegeEscalation": True}
    answer = api.post(f"/api/v1/namespaces/{world.namespace}/pods", json={"metadata": {"name": "p"}, "spec": spec})
    assert answer.status_code == 403
    assert 'violates PodSecurity "restricted:latest": privileged' in answer.json()["message"]


def _expect_hardened(spec: Object) -> None:
    """What `restricted` does not ask for, and we do."""
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["enableServiceLinks"] is False
