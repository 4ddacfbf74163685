"""PVCs before a preparing pod: one that is missing, one that the pod would bind to a node; the real volume binding."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from devcluster import Cluster
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import service_account_kubeconfig
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from gpu_relay.clients.kube import Kube
from gpu_relay.clients.pvcs import PvcStore
from gpu_relay.domain.objects.pvc import Pvc

Start = Callable[..., OperatorProcess]
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
GPU_NODE, OTHER_NODE = "with-a-gpu", "without-a-gpu"


def waits(world: World, name: str, reason: str) -> str:
    return str(eventually(lambda: world.waits_for(name, reason), f"{name} to wait for {reason}")["message"])


def on_claim(name: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": name}, "path": "digits"}


def test_a_missing_pvc_is_reported_before_any_pod(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("digits", priority=9, dataset=on_claim("dta"), backoffLimit=0)
    sentence = f"PersistentVolumeClaim dta does not exist in namespace {world.namespace}: create it"
    assert waits(world, "digits", "VolumeClaimMissing") == sentence
    eventually(
        lambda: world.event_message("digits", "VolumeClaimMissing") == f"Warning: {sentence}", "an Event that says so"
    )
    world.apply_job("next")
    world.shows_pod("next-1-prepare")
    assert world.pod_names() == ["next-1-prepare"]
    assert "preparation" not in world.job("digits")["status"]
    world.end_pod("next-1-prepare")
    world.add_claims("dta")
    eventually(lambda: "digits-1-prepare" in world.pod_names(), "its pod, once the PVC exists", within=60)


def test_a_pvc_deleted_before_the_pod_costs_nothing(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    first = start_operator(preparations="1")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1-prepare")
    first.kill()
    world.delete_pod("digits-1-prepare")
    world.delete_claim("data")
    start_operator(preparations="1")
    waits(world, "digits", "VolumeClaimMissing")
    assert world.pod_names() == []
    world.add_claim("data")
    eventually(lambda: "digits-1-prepare" in world.pod_names(), "its pod, once the PVC exists", within=60)
    assert world.job("digits")["status"]["preparation"].get("failures", 0) == 0


@pytest.fixture
def nodes(world: World) -> Iterator[tuple[str, str]]:
    """Two nodes that are ready; only the one without a GPU has room for a pod."""
    for name, cpu in ((GPU_NODE, "0"), (OTHER_NODE, "8")):
        world.create_node(name)
        world.set_room(name, cpu)
        world.set_node(name, "True", "kubelet is posting ready status")
    yield GPU_NODE, OTHER_NODE
    world.empty()
    for name in (GPU_NODE, OTHER_NODE):
        world.delete_node(name)


@pytest.fixture
def lazy(api: httpx.Client, world: World, nodes: tuple[str, str]) -> Iterator[World]:
    """PVCs of a StorageClass that waits for a consumer, and volumes for them on each node."""
    name = world.namespace
    kind = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    api.post(CLASSES, json={"metadata": {"name": name}, **kind}).raise_for_status()
    for node in nodes:
        hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        where = {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}}
        for number in (1, 2):
            local = {"local": {"path": f"/{number}"}, "nodeAffinity": where}
            world.add_volume(f"{name}-{node}-{number}", storageClassName=name, **local)
    for claim in ("wait-data", "wait-results"):
        world.add_claim(claim, storageClassName=name)
    yield world
    api.delete(f"{CLASSES}/{name}")


@pytest.fixture
def elsewhere(world: World, nodes: tuple[str, str]) -> Iterator[ScriptedResident]:
    """A resident on the node with the GPU."""
    resident = ScriptedResident()
    world.add_resident(resident, node=GPU_NODE)
    yield resident
    resident.close()


def apply_lazy_job(world: World) -> None:
    room = {"resources": {"requests": {"cpu": "1"}}}
    world.apply_job("digits", dataset=on_claim("wait-data"), output=on_claim("wait-results"), podTemplate=room)


def test_a_preparing_pod_binds_claims_where_the_gpu_is(
    lazy: World, elsewhere: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1", gpu_resource="")
    apply_lazy_job(lazy)
    lazy.shows_pod("digits-1-prepare")
    waits(lazy, "digits", "Unschedulable")
    assert lazy.node_of("digits-1-prepare") == ""
    lazy.set_room(GPU_NODE, "8")
    eventually(lambda: lazy.node_of("digits-1-prepare") == GPU_NODE, "the scheduler to put it where the GPU is")
    volumes = {lazy.claim(name)["spec"]["volumeName"] for name in ("wait-data", "wait-results")}
    assert all(f"-{GPU_NODE}-" in volume for volume in volumes)
    lazy.end_pod("digits-1-prepare")
    eventually(lambda: lazy.node_of("digits-1") == GPU_NODE, "the training pod to find its PVCs on its node")


def test_without_a_resident_the_training_pod_binds_pvcs(lazy: World, start_operator: Start) -> None:
    start_operator(preparations="1", gpu_resource="", resident_grace="1")
    apply_lazy_job(lazy)
    lazy.shows_pod("digits-1")
    assert "wait-data is unbound" in lazy.event_message("digits", "PreparationSkipped")
    assert lazy.job("digits")["status"]["preparation"]["reason"] == "PreparationSkipped"
    assert lazy.pod_names() == ["digits-1"]


async def test_claims_that_may_not_be_read_are_taken_to_be_unbound(cluster: Cluster, world: World) -> None:
    unknown = Pvc(bound=False)
    for account, data, missing in (("gpu-relay", Pvc(bound=True), None), ("sam3", unknown, unknown)):
        kubeconfig = str(service_account_kubeconfig(cluster, account))
        async with Kube.connect(field_manager="test", timeout=10, kubeconfig=kubeconfig) as kube:
            store = PvcStore(kube)
            assert await store.get(world.namespace, "data") == data
            assert await store.get(world.namespace, "missing") == missing
