"""The conditions of a job show what it waits for: its turn, the GPU, the resident, the memory."""

from collections.abc import Callable

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


def test_for_its_turn(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second")
    condition = eventually(lambda: world.waits_for("second", "WaitingInQueue"), "the condition WaitingInQueue")
    assert condition["message"] == "number 1 in the queue"


def test_for_a_training_pod_that_no_turn_knows(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 2: its deletion is requested, and nothing starts before it has ended."""
    gpu = resident.uuid.lower()
    labels = {"gpurelay.dev/gpu": gpu, "gpurelay.dev/job-uid": "another", "gpurelay.dev/fence": "1"}
    world.create_pod("stray", **labels)
    world.bind_pod("stray", "node-1")
    world.run_pod("stray")
    world.apply_job("digits")
    condition = eventually(lambda: world.waits_for("digits", "GPUStillInUse"), "the condition GPUStillInUse")
    assert f"{world.namespace}/stray" in condition["message"]
    assert world.pod_names() == []
    world.delete_as_kubelet("stray")
    world.shows_pod("digits-1")


def test_for_a_resident_that_is_replaced(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    resident.faults.leak_mib = 5000
    world.apply_job("digits")
    eventually(lambda: world.waits_for("digits", "WaitingForMemory"), "the condition WaitingForMemory")
    world.delete_pod("sam3")
    condition = eventually(lambda: world.waits_for("digits", "ResidentMissing"), "the condition ResidentMissing")
    assert "node-1" in condition["message"]
    resident.faults.leak_mib, resident.hold = 0, None
    world.add_resident(resident, name="sam3-again")
    world.shows_pod("digits-1")


def test_for_the_memory_to_come_back(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    start_operator(memory_return_timeout="60")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    resident.trainer_mib = 10_240
    world.end_pod("digits-1")
    world.reaches("digits", "Releasing")
    reloaded = world.condition("digits", "ResidentReloaded")
    assert (reloaded["status"], reloaded["reason"]) == ("False", "GPUReturned")
    assert resident.called("load") == []
    resident.trainer_mib = 0
    world.reaches("digits", "Succeeded")
    assert resident.loaded
