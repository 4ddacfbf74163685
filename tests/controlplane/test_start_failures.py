"""What keeps a pod from starting is named within a minute, with what to change: by scheduler, kubelet and Events."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.rights import kubeconfig_of_one_namespace

Start = Callable[..., OperatorProcess]


def creating(world: World, name: str) -> None:
    """Report, as a kubelet, only that the pod's containers are being created."""
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    world.set_pod(name, phase="Pending", containerStatuses=[container(waiting)])


def message_of(world: World, reason: str) -> str:
    found: dict[str, Any] = eventually(lambda: world.waits_for("digits", reason), f"the condition {reason}")
    return str(found["message"])


# Events of the pod


@pytest.mark.parametrize(
    ("event", "said", "reason", "remedy"),
    [
        ("FailedMount", 'secret "ca" not found', "VolumeNotMounted", "correct the PersistentVolumeClaim"),
        ("FailedAttachVolume", "volume is attached to node-2", "VolumeNotMounted", "its storage"),
        ("FailedCreatePodSandBox", "no IP address left", "ContainerNotCreated", "network plugin"),
        ("FailedPrepareDynamicResources", "no such driver", "ContainerNotCreated", "drivers of node node-1"),
    ],
)
def test_what_stands_in_events_alone_gives_the_gpu_back_soon(
    world: World, resident: ScriptedResident, start_operator: Start, event: str, said: str, reason: str, remedy: str
) -> None:
    start_operator(start_failure_timeout="0.5")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    creating(world, "digits-1")
    world.write_pod_event("digits-1", event, said, later=60)
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Failed")
    attempt = world.attempts("digits")[0]
    assert attempt["reason"] == reason
    assert f"{event}: {said}" in attempt["message"]
    assert remedy in attempt["message"]
    warning = eventually(lambda: world.event("digits", reason), f"the Event {reason}")
    assert warning["type"] == "Warning"
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_a_volume_that_is_mounted_in_the_end_costs_nothing(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """The Event of a failure stays for an hour; what came after it counts."""
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    creating(world, "digits-1")
    world.write_pod_event("digits-1", "FailedMount", "the server is down", later=60)
    assert "the server is down" in message_of(world, "VolumeNotMounted")
    world.write_pod_event("digits-1", "Pulling", "pulls the image", kind="Normal", later=61)
    assert "its container is being created" in message_of(world, "PodNotStarted")
    world.run_pod("digits-1")
    message_of(world, "TrainingRunning")


def test_an_operator_works_without_access_to_events(
    world: World, resident: ScriptedResident, cluster: Cluster, tmp_path: Path
) -> None:
    kubeconfig = kubeconfig_of_one_namespace(cluster, world, tmp_path, without=("events", "list"))
    operator = OperatorProcess(kubeconfig, tmp_path / "operator.log", watch_namespace=world.namespace)
    operator.start()
    try:
        world.apply_job("digits")
        world.shows_pod("digits-1")
        world.bind_pod("digits-1", "node-1")
        creating(world, "digits-1")
        world.write_pod_event("digits-1", "FailedMount", "the server is down", later=60)
        eventually(lambda: "mount errors are only detected by" in operator.log(), "the refusal to be logged")
        message_of(world, "PodNotStarted")
        world.run_pod("digits-1")
        message_of(world, "TrainingRunning")
        assert operator.log().count("mount errors are only detected by") == 1
    finally:
        operator.stop()


# The scheduler, which is real


def test_a_claim_that_does_not_exist_costs_no_outage(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.delete_claim("data")
    world.apply_job("digits", backoffLimit=0)
    said = f"PersistentVolumeClaim data does not exist in namespace {world.namespace}: create it"
    assert message_of(world, "VolumeClaimMissing") == said
    warning = eventually(lambda: world.event("digits", "VolumeClaimMissing"), "the Event VolumeClaimMissing")
    assert (warning["type"], warning["note"]) == ("Warning", said)
    assert not resident.called("unload")
    world.add_claim("data")
    world.shows_pod("digits-1")
    assert world.attempts("digits") == []


def test_an_unbound_pvc_is_reported_with_the_reason(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.delete_claim("data")
    world.add_claim("data", storageClassName="no-such-class")
    world.apply_job("digits")
    eventually(
        lambda: 'storageclass.storage.k8s.io "no-such-class" not found' in message_of(world, "Unschedulable"),
        "what the volume controller says",
    )
    message = message_of(world, "Unschedulable")
    assert "PersistentVolumeClaim data:" in message
    assert "kubectl describe pvc" in message
