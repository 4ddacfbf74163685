"""A job's way from `kubectl apply` to the resident being back: real API server, scripted resident and kubelet."""

import threading
from collections.abc import Callable
from typing import Any

from devcluster import Cluster, audit
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

OPERATOR = audit.account("gpu-relay", "gpu-relay")
STORY = [
    "GPULeased",
    "ResidentUnloaded",
    "PodCreated",
    "TrainingRunning",
    "TrainingEnded",
    "ResidentLoaded",
    "Completed",
]
"""The Events of a job that simply succeeds."""


def test_a_job_trains_and_the_resident_comes_back(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    assert not resident.loaded
    unload = resident.called("unload")[0]
    assert unload["holder"].startswith(f"yolotrainingjob/{world.namespace}/digits/")
    assert unload["ttl_seconds"] == 60

    resident.trainer_mib = 10_240
    world.run_pod("digits-1")
    eventually(lambda: "TrainingRunning" in world.events("digits"), "the Event TrainingRunning")
    assert world.condition("digits", "GPUAcquired")["reason"] == "MemoryProven"
    gpu = world.job("digits")["status"]["gpu"]
    assert (gpu["freeBefore"], gpu["freeAfter"], gpu["needed"]) == (910, 14_910, 10_240)

    resident.trainer_mib = 0
    weights = {"best": "/output/digits/weights/best.pt"}
    world.end_pod("digits-1", epoch=10, metrics={"mAP50": 0.9}, weights=weights, peakMemoryMiB=9000)
    world.reaches("digits", "Succeeded")
    assert resident.loaded
    assert world.condition("digits", "Complete")["status"] == "True"
    assert world.condition("digits", "ResidentReloaded")["status"] == "True"
    status = world.job("digits")["status"]
    assert status["results"]["weights"] == {"best": "digits/weights/best.pt"}
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert "turn" not in status
    eventually(world.no_reload_pending, "the Lease to be settled")
    eventually(lambda: _story(world) == STORY, "the whole story in Events")
    assert operator.running


def test_the_status_shows_that_the_resident_unloads(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    may_continue = threading.Event()
    resident.before_unload = lambda: may_continue.wait(60)
    world.apply_job("digits")
    condition = eventually(lambda: _reason(world, "UnloadingResident"), "the condition UnloadingResident")
    assert condition["message"].endswith("to unload (910 MiB free, 10,240 MiB needed)")
    assert world.pod_names() == []
    may_continue.set()
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")


def test_no_pod_before_the_memory_is_measured_free(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 1: the resident reports that it has unloaded, but the memory is not free."""
    resident.faults.leak_mib = 5000
    world.apply_job("digits")
    condition = eventually(lambda: _reason(world, "WaitingForMemory"), "the condition WaitingForMemory")
    assert "9,910 MiB free" in condition["message"]
    assert world.pod_names() == []
    resident.faults.leak_mib = 0
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")


def test_the_lease_is_written_before_each_effect(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 5: it names the job before the resident unloads, and the resident before the resident loads."""
    seen: set[tuple[str, ...]] = set()
    resident.before_unload = lambda: seen.add(("unload", *world.leases().values()))
    resident.before_load = lambda: seen.add(("load", *world.leases().values()))
    for name in ("first", "second"):  # the first one on a GPU without a Lease
        seen.clear()
        world.apply_job(name)
        world.shows_pod(f"{name}-1")
        world.end_pod(f"{name}-1")
        world.reaches(name, "Succeeded")
        eventually(world.no_reload_pending, "the Lease to be settled")
        job = f"yolotrainingjob/{world.namespace}/{name}/{world.job(name)['metadata']['uid']}"
        assert seen == {("unload", job), ("load", "resident")}


def test_between_two_samples_nothing_but_a_sample_is_taken(
    world: World, resident: ScriptedResident, start_operator: Any, cluster: Cluster
) -> None:
    start_operator(samples="40", sample_interval="0.05")
    before = audit.size(cluster.run_dir)
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    stored = [call for call in audit.calls(cluster.run_dir, OPERATOR, before) if not call.dry_run]
    calls = [f"{call.verb} {call.resource}" for call in stored]
    created = calls.index("create pods")
    assert calls[:created].count("list pods") < 20
    assert "list pods" in calls[created - 6 : created], "law 6: a live list comes right before the pod"


def test_a_change_between_two_samples_is_seen(world: World, resident: ScriptedResident, start_operator: Any) -> None:
    start_operator(samples="100", sample_interval="60")
    world.apply_job("digits")
    eventually(lambda: "ResidentUnloaded" in world.events("digits"), "the first sample")
    world.patch_job("digits", suspend=True)
    world.reaches("digits", "Suspended")
    eventually(lambda: resident.loaded, "the resident to be loaded again")
    assert world.pod_names() == []


def test_nothing_starts_while_the_resident_refuses(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    resident.faults.unload = "a kernel hangs"
    world.apply_job("digits")
    condition = eventually(lambda: _reason(world, "ResidentRefused"), "the condition ResidentRefused")
    assert "a kernel hangs" in condition["message"]
    assert world.pod_names() == []
    resident.faults.unload = ""
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")


def test_a_silent_resident_is_not_taken_as_free(world: World, resident: ScriptedResident, start_operator: Any) -> None:
    start_operator(max_outage="0", min_serve="0")
    world.apply_job("first")
    eventually(lambda: world.pod_names() == ["first-1"], "the first training pod")
    resident.faults.mute = True
    world.end_pod("first-1")
    eventually(lambda: world.phase("first") == "Succeeded", "the first job's end", within=60)
    assert world.condition("first", "ResidentReloaded")["reason"] == "ResidentUnreachable"
    world.apply_job("second")
    eventually(lambda: world.waits_for("second", "ResidentUnreachable"), "the condition ResidentUnreachable")
    assert world.pod_names() == ["first-1"]
    resident.faults.mute = False
    eventually(lambda: resident.loaded, "the resident to be loaded (law 3)", within=60)
    eventually(lambda: "second-1" in world.pod_names(), "the second training pod", within=60)


def test_a_resident_that_is_silent_after_its_unload_proves_nothing(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 10."""

    def fall_silent(call: str, _: int) -> None:
        resident.faults.mute = call == "unload"

    resident.after_call = fall_silent
    world.apply_job("digits")
    condition = eventually(
        lambda: world.waits_for("digits", "ResidentUnreachable"), "the condition ResidentUnreachable"
    )
    assert condition["message"].endswith("its memory is unknown, so nothing starts")
    assert world.pod_names() == []
    resident.after_call = lambda *_: None
    resident.faults.mute = False
    world.shows_pod("digits-1")


def test_one_at_a_time_first_in_first_out(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    """Law 2, and the order of the queue."""
    for name in ("one", "two", "three"):
        world.apply_job(name)
        world.reaches(name, "Queued", "Acquiring", "Training")
    order = []
    for _ in range(3):
        live = eventually(lambda: _live(world), "a live training pod")
        assert len(live) == 1
        order.append(live[0])
        world.run_pod(live[0])
        world.end_pod(live[0])
        world.reaches(live[0].removesuffix("-1"), "Succeeded")
    assert order[0] == "one-1"
    assert sorted(order) == ["one-1", "three-1", "two-1"]
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_a_failed_load_is_reported_and_retried_indefinitely(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 3: the job does not wait for a broken resident, and the reload stays pending."""
    resident.faults.load = "weights are missing"
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert "weights are missing" in world.condition("digits", "ResidentReloaded")["message"]
    eventually(lambda: "ResidentLoadFailed" in world.events("digits"), "the Event ResidentLoadFailed")
    resident.faults.load = ""
    eventually(lambda: world.condition("digits", "ResidentReloaded")["status"] == "True", "the condition to turn True")
    assert resident.loaded


def test_a_residents_pod_sets_its_port(world: World, start_operator: Any) -> None:
    resident = ScriptedResident()
    try:
        world.add_resident(resident, annotations={"gpurelay.dev/port": "8000"})
        start_operator(resident_port="9")
        world.apply_job("digits")
        eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
        assert resident.called("unload")
    finally:
        resident.close()


def test_deleting_a_job_in_training_gives_the_gpu_back(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.delete_job("digits")
    eventually(lambda: world.pod_names() == [], "the training pod to go")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_the_hold_is_replaced_on_a_restarted_resident(
    world: World, resident: ScriptedResident, start_operator: Any
) -> None:
    start_operator(hold_ttl="5")
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.run_pod("digits-1")
    eventually(lambda: len(resident.called("unload")) >= 3, "the hold to be renewed")
    resident.hold = None  # as after a restart
    eventually(lambda: resident.hold, "the hold to be placed again")
    fences = {call["fence"] for call in resident.called("unload")}
    assert len(fences) == 1


def test_a_job_without_a_resident_trains_without_a_hand_over(
    world: World, start_operator: Callable[..., OperatorProcess]
) -> None:
    start_operator(resident_grace="1")
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert world.condition("digits", "ResidentReloaded")["reason"] == "NoResident"


def _story(world: World) -> list[str]:
    """Return a job's Events, without those of the scheduler about nodes without room."""
    return [reason for reason in world.events("digits") if reason != "Unschedulable"]


def _reason(world: World, reason: str) -> dict[str, Any] | None:
    condition = world.condition("digits", "Reconciling")
    return condition if condition.get("reason") == reason else None


def _live(world: World) -> list[str]:
    pods = world.training_pods()
    return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") not in {"Succeeded", "Failed"}]
