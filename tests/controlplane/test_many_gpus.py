"""Several GPUs and residents, wherever they are; and what makes a GPU visible to its training pod."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


@pytest.fixture
def second(world: World) -> Iterator[ScriptedResident]:
    """A second resident, on a GPU of its own; the test chooses its node."""
    resident = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000002")
    yield resident
    resident.close()


def node_of(pod: dict[str, Any]) -> str:
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])


def gpu_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["gpurelay.dev/gpu"])


def two_train(world: World, second: ScriptedResident) -> None:
    """Have each of two GPUs train a job."""
    world.add_resident(second, name="sam3-b", node="node-2")
    for name in ("one", "two"):
        world.apply_job(name)
        world.shows_pod(f"{name}-1")
        world.run_pod(f"{name}-1")


def test_two_gpus_train_two_jobs_and_a_third_waits(
    world: World, resident: ScriptedResident, second: ScriptedResident, operator: OperatorProcess
) -> None:
    two_train(world, second)
    pods = {pod["metadata"]["name"]: pod for pod in world.training_pods()}
    assert sorted(node_of(pod) for pod in pods.values()) == ["node-1", "node-2"]
    assert {gpu_of(pod) for pod in pods.values()} == {resident.uuid.lower(), second.uuid.lower()}
    world.apply_job("three")
    world.reaches("three", "Queued")
    world.end_pod("two-1")
    world.shows_pod("three-1")
    third = next(pod for pod in world.training_pods() if pod["metadata"]["name"] == "three-1")
    assert gpu_of(third) == gpu_of(pods["two-1"])
    for name in ("one-1", "three-1"):
        world.run_pod(name)
        world.end_pod(name)
    eventually(lambda: resident.loaded and second.loaded and world.no_reload_pending(), "both residents to be back")


def test_the_second_gpu_returns_to_its_resident(
    world: World, resident: ScriptedResident, second: ScriptedResident, operator: OperatorProcess
) -> None:
    two_train(world, second)
    world.apply_job("three")
    world.reaches("three", "Queued")
    for name in ("one", "two"):
        world.end_pod(f"{name}-1")
    world.shows_pod("three-1")
    third = next(pod for pod in world.training_pods() if pod["metadata"]["name"] == "three-1")
    (other,) = (each for each in (resident, second) if each.uuid.lower() != gpu_of(third))
    eventually(lambda: other.loaded, "the resident that no job unloads to be loaded")
    assert [each.loaded for each in (resident, second)].count(True) == 1
    for name in ("one", "two"):
        world.reaches(name, "Succeeded")


def test_uuids_distinguish_two_gpus_of_one_node(
    world: World, resident: ScriptedResident, second: ScriptedResident, operator: OperatorProcess
) -> None:
    world.add_resident(second, name="sam3-b", node="node-1", gpu="b")
    world.apply_job("b", gpu={"memory": "10Gi", "residentSelector": {"matchLabels": {"gpu": "b"}}})
    world.shows_pod("b-1")
    assert resident.loaded
    assert not second.loaded
    assert gpu_of(world.training_pods()[0]) == second.uuid.lower()
    assert f'"uuid": "{second.uuid}"' in world.training_pods()[0]["metadata"]["annotations"]["gpurelay.dev/job"]


def test_a_trainer_that_finds_itself_on_another_gpu_acquires_again(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(backoff_base="0")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.end_pod("digits-1", reason="WrongGpu", exit_code=11)
    world.shows_pod("digits-2")
    assert world.job("digits")["status"]["attempts"][0]["reason"] == "WrongGpu"


def test_a_resident_outside_the_cluster(world: World, second: ScriptedResident, start_operator: Start) -> None:
    """As in the origin: SAM3 as a plain process on the machine that is also a node."""
    configured = f'[{{"name": "vm", "url": "http://{second.ip}:8000", "node": "node-2", "labels": {{"gpu": "vm"}}}}]'
    start_operator(external_residents=configured, restart_resident_after="0.1")
    second.faults.unload = "still busy"
    world.apply_job("digits", gpu={"memory": "10Gi", "residentSelector": {"matchLabels": {"gpu": "vm"}}})
    refused = eventually(lambda: world.waits_for("digits", "ResidentRefused"), "the condition ResidentRefused")
    assert "external/vm" in refused["message"]
    second.faults.unload = ""
    world.shows_pod("digits-1")
    assert node_of(world.training_pods()[0]) == "node-2"
    world.run_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert second.loaded
    assert world.job("digits")["status"]["gpu"]["resident"] == "external/vm"


def test_a_resident_that_does_not_unload_loses_its_pod(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(restart_resident_after="1")
    resident.faults.unload = "a kernel hangs"
    world.apply_job("digits")
    eventually(lambda: "ResidentRestarted" in world.events("digits"), "the Event ResidentRestarted")
    eventually(lambda: not world.exists("sam3"), "the resident's pod to be deleted")
    assert world.pod_names() == []


def test_a_claim_replaces_the_extended_resource(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    """Accepted by a real API server that knows resource.k8s.io/v1."""
    start_operator(gpu_resource="nvidia.com/gpu")
    world.apply_job("shared", gpu={"memory": "10Gi", "resourceClaimName": "gpu-1"})
    world.shows_pod("shared-1")
    spec = world.training_pods()[0]["spec"]
    assert spec["resourceClaims"] == [{"name": "gpu", "resourceClaimName": "gpu-1"}]
    resources = spec["containers"][0]["resources"]
    assert resources["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in resources.get("limits", {})


def test_without_a_gpu_resource_the_uuid_makes_the_gpu_visible(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(gpu_resource="")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    env = world.training_pods()[0]["spec"]["containers"][0]["env"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": resident.uuid} in env
