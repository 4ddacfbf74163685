"""The operator crashes, and its replacement continues (law 4)."""

from collections.abc import Callable

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


def test_killed_while_acquiring(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """The Lease is taken and the resident unloaded, but memory is not there yet; the operator dies."""
    resident.faults.leak_mib = 5000
    operator = start_operator()
    world.apply_job("digits")
    eventually(lambda: world.phase("digits") == "Acquiring" and not resident.loaded, "phase Acquiring")
    operator.kill()
    resident.faults.leak_mib = 0
    start_operator()
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    _finish(world, resident)


def test_killed_while_training(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """The training ends while no operator lives."""
    operator = start_operator()
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    operator.kill()
    world.end_pod("digits-1")
    assert not resident.loaded
    start_operator()
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_killed_while_releasing(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """The operator crashes after it has returned the Lease, before the pending reload."""
    resident.faults.load = "not now"
    operator = start_operator()
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.end_pod("digits-1")
    eventually(lambda: resident.called("load"), "an attempt to load")
    operator.kill()
    resident.faults.load = ""
    assert not resident.loaded
    start_operator()
    eventually(lambda: resident.loaded, "the resident to be loaded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert world.phase("digits") == "Succeeded"


@pytest.mark.parametrize("deletion", ["while acquiring", "while training"])
def test_job_deleted_while_no_operator_lives(
    world: World, resident: ScriptedResident, start_operator: Start, deletion: str
) -> None:
    resident.faults.leak_mib = 5000 if deletion == "while acquiring" else 0
    operator = start_operator()
    world.apply_job("digits")
    if deletion == "while acquiring":
        eventually(lambda: not resident.loaded, "the unload")
    else:
        eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    operator.kill()
    world.delete_job("digits")
    resident.faults.leak_mib = 0
    start_operator(request_timeout="2")  # the new process waits as long for a pod that the former one may have created
    eventually(lambda: resident.loaded, "the resident to be loaded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    eventually(lambda: world.pod_names() == [], "the training pod to go")


def test_two_operators_give_a_gpu_to_one_job(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """Law 2 holds even where two operators act by mistake, each taking itself for the leader's next process."""
    start_operator()
    start_operator()
    for name in ("one", "two"):
        world.apply_job(name)
    for _ in range(2):
        pod = eventually(lambda: [p for p in world.training_pods() if "phase" in p["status"]], "a training pod")
        live = [p["metadata"]["name"] for p in pod if p["status"]["phase"] == "Pending"]
        if live:
            assert len(live) == 1
            world.end_pod(live[0])
            world.reaches(live[0].removesuffix("-1"), "Succeeded")
    eventually(lambda: {world.phase("one"), world.phase("two")} >= {"Succeeded"}, "a job to be done")


def _finish(world: World, resident: ScriptedResident) -> None:
    world.run_pod("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded
    assert [attempt["reason"] for attempt in world.job("digits")["status"]["attempts"]] == ["Completed"]
