"""Preemption: by opt-in of the job that yields, through its checkpoint, and never back and forth."""

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually


def trains(world: World, pod: str) -> None:
    world.shows_pod(pod)
    world.bind_pod(pod, "node-1")
    world.run_pod(pod)
    job = pod.rsplit("-", 1)[0]
    eventually(lambda: world.waits_for(job, "TrainingRunning"), f"{pod} to train")


def test_a_preempted_job_resumes_from_its_checkpoint(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("low", preemptible=True, backoffLimit=0)
    trains(world, "low-1")
    world.apply_job("high", priority=10)
    condition = eventually(lambda: world.waits_for("low", "Preempted"), "the condition Preempted")
    assert f"{world.namespace}/high (priority 10) has the GPU next" in condition["message"]
    assert "high-1" not in world.pod_names(), "law 2: not before the other has ended"
    world.end_pod("low-1", "Interrupted", 143, epoch=4)
    trains(world, "high-1")
    attempt = world.attempts("low")[0]
    assert (attempt["reason"], attempt["epoch"]) == ("Preempted", 4)
    assert world.phase("low") == "Queued"
    assert "startTime" not in world.job("low")["status"], "its deadline begins again"
    world.apply_job("equal", priority=10)
    world.reaches("equal", "Queued")
    world.end_pod("high-1")
    world.shows_pod("equal-1")
    world.end_pod("equal-1")
    trains(world, "low-2")
    world.end_pod("low-2")
    world.reaches("low", "Succeeded")
    assert [attempt["reason"] for attempt in world.attempts("high")] == ["Completed"]
    eventually(lambda: "Preempted" in world.events("low"), "the Event Preempted")


def test_only_a_preemptible_job_of_lower_priority_stops(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("low")
    trains(world, "low-1")
    world.apply_job("high", priority=10, preemptible=True)
    eventually(lambda: world.job("high")["status"].get("queuePosition") == 1, "high to wait")
    world.end_pod("low-1")
    trains(world, "high-1")
    world.apply_job("equal", priority=10)
    eventually(lambda: world.job("equal")["status"].get("queuePosition") == 1, "equal to wait")
    world.touch_job("equal")  # the queue is scheduled again
    assert world.exists("high-1")
    world.end_pod("high-1")
    world.reaches("high", "Succeeded")


def test_preempted_before_its_pod_was_made(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    resident.faults.leak_mib = 5000
    world.apply_job("low", preemptible=True)
    eventually(lambda: world.waits_for("low", "WaitingForMemory"), "the condition WaitingForMemory")
    world.apply_job("high", priority=10)
    eventually(lambda: world.waits_for("high", "WaitingForMemory"), "high to have the GPU")
    assert world.phase("low") == "Queued"
    assert world.attempts("low") == []
    resident.faults.leak_mib = 0
    world.shows_pod("high-1")
