"""Both sides of a GPU are served: turns in a row, turns that yield, turns beside the resident."""

from collections.abc import Callable
from typing import Any

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


def finish(world: World, pod: str, **word: Any) -> None:
    world.shows_pod(pod)
    world.run_pod(pod)
    world.end_pod(pod, **word)


def test_turns_in_a_row_share_one_outage(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    start_operator(max_outage="600")
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second")
    world.reaches("second", "Queued")
    finish(world, "first-1")
    world.shows_pod("second-1")
    assert resident.called("load") == []
    world.reaches("first", "Succeeded")
    assert world.condition("first", "ResidentReloaded")["reason"] == "GPUPassedOn"
    eventually(lambda: "Completed" in world.events("first"), "the Event Completed")
    assert not {"TrainingEnded", "GPUPassedOn"} & set(world.events("first")), (
        "one Event reports the end and the hand-over"
    )
    finish(world, "second-1")
    world.reaches("second", "Succeeded")
    assert world.condition("second", "ResidentReloaded")["status"] == "True"
    assert len(resident.called("load")) == 1
    fences = [call["fence"] for call in resident.called("unload")]
    assert fences == sorted(fences)
    assert len(set(fences)) == 2


def test_from_turn_to_turn_each_job_is_written_once(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(max_outage="600")
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second")
    world.reaches("second", "Queued")
    world.run_pod("first-1")
    eventually(lambda: "TrainingRunning" in world.events("first"), "the Event TrainingRunning")
    first, second = world.version("first"), world.version("second")
    world.end_pod("first-1")
    world.shows_pod("second-1")
    assert _phases(world, "first", first) == ["Succeeded"]
    assert _phases(world, "second", second).count("Acquiring") == 1
    event = eventually(lambda: world.event("first", "Completed"), "the Event Completed")
    assert event["note"].endswith(f"{world.namespace}/second has the GPU next; the resident is loaded after it")
    (pod,) = (pod for pod in world.training_pods() if pod["metadata"]["name"] == "second-1")
    assert pod["metadata"]["annotations"]["gpurelay.dev/proven-free-mib"] == "14910"
    finish(world, "second-1")
    world.reaches("second", "Succeeded")
    assert world.job("second")["status"]["gpu"]["freeAfter"] == 14_910


def _phases(world: World, job: str, since: str) -> list[str]:
    """Return a job's phase in each status that was written after a version."""
    return [seen["status"]["phase"] for seen in world.watch_job(job, since, seconds=2)]


def test_after_too_long_an_outage_the_resident_serves_first(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(max_outage="0", min_serve="4")
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second")
    world.reaches("second", "Queued")
    finish(world, "first-1")
    serving = eventually(lambda: world.waits_for("second", "ResidentServing"), "the second job to wait")
    assert "serves until" in serving["message"]
    assert resident.loaded
    world.reaches("first", "Succeeded")
    assert world.condition("first", "ResidentReloaded")["status"] == "True"
    finish(world, "second-1")
    world.reaches("second", "Succeeded")


def test_annotations_of_the_resident_override_the_operators_clocks(world: World, start_operator: Start) -> None:
    resident = ScriptedResident()
    world.add_resident(resident, annotations={"gpurelay.dev/max-outage": "0s", "gpurelay.dev/min-serve": "1h"})
    start_operator(max_outage="600", min_serve="0")
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second")
    world.reaches("second", "Queued")
    finish(world, "first-1")
    eventually(lambda: world.waits_for("second", "ResidentServing"), "the second job to wait")
    assert resident.loaded
    resident.idle_seconds = 31  # no client sends a request
    world.shows_pod("second-1")
    resident.close()


def test_a_polite_job_starts_when_the_resident_is_idle(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("polite", gpu={"memory": "10Gi", "startWhen": "ResidentIdle", "idleFor": "5m"})
    eventually(lambda: world.waits_for("polite", "ResidentBusy"), "the reason ResidentBusy")
    assert resident.loaded
    resident.idle_seconds = 301
    world.shows_pod("polite-1")
    assert not resident.loaded


def test_a_long_job_yields_to_a_requested_resident_and_resumes(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(max_outage="1", min_serve="2", progress_interval="0.3", backoff_base="0")
    world.apply_job("long", gpu={"memory": "10Gi", "yieldToResident": True})
    world.shows_pod("long-1")
    world.run_pod("long-1")
    resident.refused = 2
    eventually(lambda: "YieldingToResident" in world.events("long"), "the Event YieldingToResident")
    eventually(lambda: world.pod_names() == [], "the pod to stop")  # no kubelet here: deletion is at once
    eventually(lambda: resident.loaded, "the resident to serve")
    eventually(lambda: world.waits_for("long", "ResidentServing"), "the job to wait its turn")
    world.shows_pod("long-2")
    assert not resident.loaded
    attempts = world.job("long")["status"]["attempts"]
    assert [(each["number"], each["reason"]) for each in attempts] == [(1, "Interrupted")]


def test_what_fits_beside_the_resident_runs_without_an_unload(world: World, operator: OperatorProcess) -> None:
    resident = ScriptedResident(model_mib=4000, cap_mib=6000)
    world.add_resident(resident)
    world.apply_job("small", gpu={"memory": "8Gi", "sharing": "Coresident"})
    world.shows_pod("small-1")
    assert resident.loaded
    pod = world.training_pods()[0]["metadata"]
    assert pod["labels"]["gpurelay.dev/sharing"] == "coresident"
    assert '"hold": null' in pod["annotations"]["gpurelay.dev/job"]
    resident.trainer_mib = 8192
    world.apply_job("other", gpu={"memory": "1Gi", "sharing": "Coresident"})
    world.reaches("other", "Queued")  # law 2 knows no exception
    resident.trainer_mib = 0
    finish(world, "small-1")
    world.reaches("small", "Succeeded")
    assert world.condition("small", "ResidentReloaded")["status"] == "True"
    world.shows_pod("other-1")
    assert resident.called("unload") == []
    resident.close()


def test_what_does_not_fit_beside_the_resident_unloads_it(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("large", gpu={"memory": "8Gi", "sharing": "Coresident"})
    world.shows_pod("large-1")
    assert not resident.loaded
    assert "gpurelay.dev/sharing" not in world.training_pods()[0]["metadata"]["labels"]
