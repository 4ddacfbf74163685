"""Jobs in a namespace with a compute quota: the site template's requests let their pods in."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
REQUESTS = {"requests.cpu": "1", "requests.memory": "4Gi"}
LIMITS = {"limits.cpu": "4", "limits.memory": "16Gi"}


def bounded(api: httpx.Client, world: World, hard: dict[str, str]) -> None:
    """Give the namespace a quota, and wait until the controller has counted what is there."""
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    api.post(path, json={"metadata": {"name": "compute"}, "spec": {"hard": hard}}).raise_for_status()
    eventually(lambda: api.get(f"{path}/compute").json().get("status", {}).get("used"), "the quota to be counted")


def trains(world: World) -> None:
    """A job is prepared and trained to its end: both kinds of pods are let in."""
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    world.end_pod("digits-1-prepare")
    world.shows_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")


@pytest.mark.parametrize("installation", ["base", "overlays/local"])
def test_a_quota_on_requests(
    cluster: Cluster, world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start,
    tmp_path: Path, installation: str,
) -> None:  # fmt: skip
    objects = kustomized(cluster, REPOSITORY / "manifests" / installation)
    config = next(each for each in objects if each["metadata"]["name"].startswith("trainer-pod-template-"))
    template = tmp_path / "template.yaml"
    template.write_text(config["data"]["template.yaml"])
    bounded(api, world, REQUESTS)
    start_operator(trainer_pod_template=str(template), preparations="1")
    trains(world)


def test_a_quota_on_limits_needs_the_documented_template(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start, tmp_path: Path
) -> None:
    """The snippet of docs/install.md."""
    text = (REPOSITORY / "docs" / "install.md").read_text()
    snippet = re.search(r"```yaml\n(spec:\n.*?limits:.*?)```", text, re.DOTALL)
    assert snippet, "docs/install.md has no template with limits"
    assert yaml.safe_load(snippet[1])["spec"]["priorityClassName"] == "gpu-relay-training"
    template = tmp_path / "template.yaml"
    template.write_text(snippet[1])
    bounded(api, world, REQUESTS | LIMITS)
    start_operator(trainer_pod_template=str(template), preparations="1")
    trains(world)


def test_a_job_with_resources_of_its_own_keeps_the_rest_of_the_sites(
    cluster: Cluster, world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start, tmp_path: Path
) -> None:
    objects = kustomized(cluster, REPOSITORY / "manifests" / "base")
    config = next(each for each in objects if each["metadata"]["name"].startswith("trainer-pod-template-"))
    template = tmp_path / "template.yaml"
    template.write_text(config["data"]["template.yaml"])
    bounded(api, world, REQUESTS)
    start_operator(trainer_pod_template=str(template))
    world.apply_job("digits", podTemplate={"resources": {"limits": {"memory": "1Gi"}}})
    world.shows_pod("digits-1")
    resources = world.training_pods()[0]["spec"]["containers"][0]["resources"]
    assert (resources["requests"]["cpu"], resources["requests"]["memory"]) == ("500m", "1Gi")
