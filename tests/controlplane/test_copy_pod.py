"""The sample pods that copy data in and weights out: who admits them, on which node they run, what they may read."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.tenant import Tenant, refused

Start = Callable[..., OperatorProcess]
SAMPLES = REPOSITORY / "manifests" / "samples"
COPY: Object = yaml.safe_load((SAMPLES / "copy-pod.yaml").read_text())
SAM3_COPY: Object = yaml.safe_load((SAMPLES / "sam3-copy-pod.yaml").read_text())
QUOTA = {"requests.cpu": "1", "requests.memory": "4Gi", "limits.cpu": "4", "limits.memory": "16Gi"}
TEAM = "copying-team"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NODES = ("with-sam3", "without-sam3")


@pytest.fixture(scope="module")
def team(cluster: Cluster, api: httpx.Client) -> Iterator[Tenant]:
    """A user with the role `edit` in a namespace that manifests/team makes, with a quota on compute."""
    text = cluster.kubectl("kustomize", str(REPOSITORY / "manifests" / "team"))
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=_renamed(text))
    path = f"/api/v1/namespaces/{TEAM}"
    quota = {"metadata": {"name": "compute"}, "spec": {"hard": QUOTA}}
    api.post(f"{path}/resourcequotas", json=quota).raise_for_status()
    counted = f"{path}/resourcequotas/compute"
    eventually(lambda: api.get(counted).json().get("status", {}).get("used"), "the quota to be counted")
    eventually(lambda: api.get(f"{path}/serviceaccounts/default").is_success, "the default account")
    yield Tenant(api, TEAM)
    api.delete(path)


def _renamed(text: str) -> str:
    """Return manifests/team with another namespace, as a team's own kustomization sets it."""
    objects = list(yaml.safe_load_all(text))
    for item in objects:
        field = "name" if item["kind"] == "Namespace" else "namespace"
        item["metadata"][field] = TEAM
    return yaml.safe_dump_all(objects)


def moved(pod: Object, namespace: str) -> Object:
    """Return a sample pod in another namespace."""
    return {**pod, "metadata": {**pod["metadata"], "namespace": namespace}}


def create(team: Tenant, pod: Object) -> httpx.Response:
    """Create a pod as a user of the team does."""
    return team.call("POST", f"/api/v1/namespaces/{TEAM}/pods", moved(pod, TEAM))


def test_a_teams_namespace_with_a_quota_admits_it(team: Tenant) -> None:
    answer = create(team, COPY)
    assert answer.is_success, answer.text


def test_the_namespace_of_sam3_admits_the_other(api: httpx.Client) -> None:
    path = f"/api/v1/namespaces/{SAM3_COPY['metadata']['namespace']}/pods"
    answer = api.post(path, json=SAM3_COPY, params={"dryRun": "All", "fieldValidation": "Strict"})
    assert answer.is_success, answer.text


def _breaks(spec: Object, container: Object) -> dict[str, Callable[[], Any]]:
    """Return what makes the namespace refuse a pod, by what it then says."""
    return {
        "runAsNonRoot": lambda: spec["securityContext"].pop("runAsNonRoot"),
        "seccompProfile": lambda: spec["securityContext"].pop("seccompProfile"),
        "unrestricted capabilities": lambda: container["securityContext"].pop("capabilities"),
        "must specify limits.cpu": lambda: container["resources"].pop("limits"),
        "resources request a GPU": lambda: container["resources"]["limits"].update({"nvidia.com/gpu": "1"}),
    }


@pytest.mark.parametrize("sentence", _breaks({}, {}))
def test_the_namespace_refuses_less(team: Tenant, sentence: str) -> None:
    """It enforces each of the settings that the pod has for it."""
    broken = copy.deepcopy(COPY)
    broken["metadata"]["name"] = "broken"
    _breaks(broken["spec"], broken["spec"]["containers"][0])[sentence]()
    refused(create(team, broken), sentence)


@pytest.fixture
def nodes(world: World) -> Iterator[tuple[str, str]]:
    """Two nodes with room, of which the first will be SAM3's; it has the taint of GPU nodes."""
    for name in NODES:
        world.create_node(name)
        world.set_room(name, "8")
        world.set_node(name, "True", "kubelet is posting ready status")
    world.set_node_spec(NODES[0], taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}])
    yield NODES
    world.empty()
    for name in NODES:
        world.delete_node(name)


@pytest.fixture
def lazy(api: httpx.Client, neighbour: World, nodes: tuple[str, str]) -> Iterator[World]:
    """The sample PVCs with a StorageClass that waits for a consumer, and volumes for them on each node."""
    name = neighbour.namespace
    kind = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    api.post(CLASSES, json={"metadata": {"name": name}, **kind}).raise_for_status()
    spec = {"storageClassName": name, "accessModes": ["ReadWriteOnce"]}
    for claim in ("data", "results"):
        neighbour.delete_claim(claim)
        neighbour.add_claim(claim, **spec)
        for node in nodes:
            hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
            where = {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}}
            neighbour.add_volume(f"{name}-{node}-{claim}", local={"path": f"/{claim}"}, nodeAffinity=where, **spec)
    yield neighbour
    neighbour.empty()
    api.delete(f"{CLASSES}/{name}")


def test_it_runs_on_the_node_of_sam3(api: httpx.Client, world: World, lazy: World, nodes: tuple[str, str]) -> None:
    """Local volumes are then created there, where training pods need them. SAM3 may be in another namespace."""
    pods = f"/api/v1/namespaces/{lazy.namespace}/pods"
    api.post(pods, json=moved(COPY, lazy.namespace)).raise_for_status()
    eventually(lambda: _condition(lazy) == "Unschedulable", "the pod to wait for SAM3")
    resident = ScriptedResident()
    world.add_resident(resident, node=nodes[0])
    eventually(lambda: lazy.pod("copy")["spec"].get("nodeName") == nodes[0], "the pod to be where SAM3 is")
    volumes = {lazy.claim(name)["spec"]["volumeName"] for name in ("data", "results")}
    assert all(f"-{nodes[0]}-" in volume for volume in volumes)
    resident.close()


def _condition(world: World) -> str:
    conditions = world.pod("copy").get("status", {}).get("conditions", [])
    return next((str(each.get("reason", "")) for each in conditions if each["type"] == "PodScheduled"), "")


def test_its_files_are_those_of_training_pods(
    cluster: Cluster, world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    """Same user and groups: a pod reads and writes what the other has written. SAM3's pod reads its weights."""
    start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    assert _owner(COPY["spec"]) == _owner(world.training_pods()[0]["spec"])
    base = yaml.safe_load_all(cluster.kubectl("kustomize", str(REPOSITORY / "manifests" / "base")))
    sam3 = next(each for each in base if each["kind"] == "Deployment" and each["metadata"]["name"] == "sam3")
    assert _owner(SAM3_COPY["spec"]) == _owner(sam3["spec"]["template"]["spec"])


def _owner(spec: Object) -> Object:
    owner = {name: spec["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert not [each for each in spec["containers"] if owner.keys() & each["securityContext"].keys()]
    return owner


def test_both_pods_differ_in_what_they_mount() -> None:
    """What one pod has for its safety, the other has."""
    first, second = (copy.deepcopy(pod["spec"]) for pod in (COPY, SAM3_COPY))
    for spec in (first, second):
        del spec["volumes"], spec["containers"][0]["volumeMounts"]
    assert first == second
