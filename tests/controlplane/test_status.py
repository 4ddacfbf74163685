"""Status as people and machines read it: columns, estimates, Events; written when something has changed."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import httpx
import pytest

from devcluster import Cluster
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import Object, container
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from gpu_relay.domain.quantities import timestamp

Start = Callable[..., OperatorProcess]


@pytest.fixture
def trainer() -> Iterator[ScriptedTrainer]:
    trainer = ScriptedTrainer()
    yield trainer
    trainer.close()


def trains(world: World, pod: str, trainer: ScriptedTrainer) -> None:
    world.shows_pod(pod)
    world.run_pod(pod, ip=trainer.ip)
    eventually(lambda: trainer.asked, "the trainer to be asked")


def test_a_job_at_rest_is_not_written(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    """Queued, training, suspended, finished: ten reconciles and more of each, without a write."""
    trainer.eta_seconds = 600
    world.apply_job("runs")
    trains(world, "runs-1", trainer)
    world.apply_job("waits")
    world.apply_job("rests", suspend=True)
    eventually(lambda: world.job("waits")["status"].get("estimatedStartTime"), "an estimate")
    world.reaches("rests", "Suspended")
    eventually(lambda: world.job("runs")["status"].get("progress"), "progress")
    looks = len(trainer.asked)
    before = {name: world.version(name) for name in ("runs", "waits", "rests")}
    eventually(lambda: len(trainer.asked) > looks + 10, "ten looks")
    world.touch_job("rests")  # the queue is scheduled, too
    eventually(lambda: len(trainer.asked) > looks + 15, "more looks")
    after = {name: world.version(name) for name in ("runs", "waits")}
    assert after == {name: before[name] for name in after}
    world.end_pod("runs-1")
    world.reaches("runs", "Succeeded")
    eventually(lambda: world.condition("runs", "ResidentReloaded").get("reason") == "GPUPassedOn", "the hand-over")
    trains(world, "waits-1", trainer)
    done = world.version("runs")
    looks = len(trainer.asked)
    eventually(lambda: len(trainer.asked) > looks + 10, "ten looks")
    assert world.version("runs") == done


def test_progress_is_written_at_most_once_an_interval(
    world: World, resident: ScriptedResident, start_operator: Start, trainer: ScriptedTrainer
) -> None:
    interval = 0.6
    start_operator(progress_interval=str(interval))
    trainer.epochs, trainer.each_ask_is_an_epoch = 1000, True
    world.apply_job("digits")
    trains(world, "digits-1", trainer)
    eventually(lambda: world.job("digits")["status"].get("progress"), "progress")
    first, epoch = world.job("digits")["metadata"]["resourceVersion"], trainer.epoch
    seen = [int(job["status"]["progress"]["epoch"]) for job in world.watch_job("digits", first, seconds=4)]
    assert seen, "progress is written"
    assert seen == sorted(set(seen)), "each write says something new"
    assert len(seen) <= trainer.epoch - epoch + 1
    gaps = [later - earlier for earlier, later in pairwise(trainer.asked)]
    assert min(gaps) > interval * 0.8


def test_a_whole_life_takes_few_writes(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    created = world.apply_job("digits")["metadata"]["resourceVersion"]
    trains(world, "digits-1", trainer)
    eventually(lambda: world.job("digits")["status"].get("progress"), "progress")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    written = world.watch_job("digits", created, seconds=1)
    texts = [str(job["status"]) for job in written]
    assert all(one != two for one, two in pairwise(texts)), "no write without a change"
    assert len(texts) <= 12, [job["status"]["phase"] for job in written]


def test_transition_times_stay_and_generations_are_observed(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    created = world.apply_job("digits")["metadata"]["resourceVersion"]
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.patch_job("digits", priority=7)
    eventually(lambda: world.job("digits")["status"]["observedGeneration"] == 2, "the new generation to be observed")
    assert {c["observedGeneration"] for c in world.job("digits")["status"]["conditions"]} == {2}
    since: dict[tuple[str, str], set[str]] = {}
    for job in world.watch_job("digits", created, seconds=1):
        for condition in job["status"].get("conditions", []):
            since.setdefault((condition["type"], condition["status"]), set()).add(condition["lastTransitionTime"])
    assert len(since["Reconciling", "True"]) == 1, "phases came and went, its status did not"
    assert len(since["GPUAcquired", "True"]) == 1


def test_the_wait_is_estimated_from_the_running_jobs_eta(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    world.apply_job("runs")
    trains(world, "runs-1", trainer)
    world.apply_job("waits")
    eventually(lambda: world.job("waits")["status"].get("queuePosition") == 1, "its place in the queue")
    assert "estimatedStartTime" not in world.job("waits")["status"], "nothing is known yet"
    trainer.eta_seconds, trainer.epoch = 600, 1
    estimate = eventually(lambda: world.job("waits")["status"].get("estimatedStartTime"), "an estimate")
    wait = datetime.fromisoformat(estimate) - datetime.now(UTC)
    assert 400 < wait.total_seconds() <= 601
    assert estimate == world.job("runs")["status"]["progress"]["eta"]
    world.end_pod("runs-1")
    world.shows_pod("waits-1")
    assert "estimatedStartTime" not in world.job("waits")["status"]


def test_a_short_training_is_no_basis_for_a_long_ones_estimate(
    world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    world.apply_job("short", training={"epochs": 3})
    world.shows_pod("short-1")
    now = datetime.now(UTC)
    ended = {"exitCode": 0, "startedAt": timestamp(now - timedelta(minutes=1)), "finishedAt": timestamp(now)}
    word = json.dumps({"reason": "Completed", "message": "3 of 3 epochs", "epoch": 3})
    world.set_pod(
        "short-1", phase="Succeeded", containerStatuses=[container({"terminated": {**ended, "message": word}})]
    )
    world.reaches("short", "Succeeded")
    (attempt,) = world.job("short")["status"]["attempts"]
    assert (attempt["epoch"], attempt["startTime"]) == (3, ended["startedAt"])
    world.apply_job("long", training={"epochs": 300})
    trains(world, "long-1", trainer)
    world.apply_job("waits")
    eventually(lambda: world.job("waits")["status"].get("queuePosition") == 1, "its place in the queue")
    asked = len(trainer.asked)
    eventually(lambda: len(trainer.asked) > asked + 5, "more looks")
    assert "estimatedStartTime" not in world.job("waits")["status"], "3 epochs say nothing of 300"


def test_the_table_of_kubectl(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    trainer.epoch, trainer.metrics = 3, {"mAP50_95": 0.41}
    world.apply_job("digits")
    trains(world, "digits-1", trainer)
    eventually(lambda: world.job("digits")["status"].get("progress"), "progress")
    get = ("-n", world.namespace, "get", "ytj")
    header, row = (line.split() for line in cluster.kubectl(*get).splitlines())
    assert header == ["NAME", "PHASE", "EPOCH", "MAP", "NODE", "ATTEMPT", "AGE"]
    assert row[:6] == ["digits", "Training", "3/10", "0.41", "node-1", "1"]
    world.end_pod("digits-1", epoch=10, metrics={"mAP50_95": 0.6}, weights={"best": "/output/digits/best.pt"})
    world.reaches("digits", "Succeeded")
    header, row = (line.split() for line in cluster.kubectl(*get, "-o", "wide").splitlines())
    assert header[7:] == ["REASON", "QUEUE", "STARTS", "FREE", "NEEDED", "POD", "WEIGHTS"]
    assert row[1:3] == ["Succeeded", "10/10"]
    assert row[7] == "Completed"
    assert row[-4:] == ["14910", "10240", "digits-1", "digits/best.pt"]


def column(cluster: Cluster, world: World, name: str, title: str) -> str:
    """Return a cell of `kubectl get -o wide`; the columns' widths are those of the header."""
    header, row = cluster.kubectl("-n", world.namespace, "get", "ytj", name, "-o", "wide").splitlines()
    return row[header.index(title) :].split("  ")[0].strip()


def test_the_table_shows_the_reason_in_every_phase(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    world.apply_job("digits")
    trains(world, "digits-1", trainer)
    eventually(lambda: column(cluster, world, "digits", "REASON") == "TrainingRunning", "the reason of a training")
    world.apply_job("waits")
    eventually(lambda: column(cluster, world, "waits", "REASON") == "WaitingInQueue", "the reason of a wait")
    world.apply_job("rests", suspend=True)
    eventually(lambda: column(cluster, world, "rests", "REASON") == "Suspended", "the reason of a suspension")
    world.apply_job("wrong", training={"args": {"epochs": 3}})
    eventually(lambda: column(cluster, world, "wrong", "REASON") == "InvalidSpec", "the reason of a failure")


def test_the_table_has_the_accuracy_of_a_classification(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess, trainer: ScriptedTrainer
) -> None:
    trainer.epoch, trainer.metrics = 3, {"top1": 0.87, "top5": 0.99}
    world.apply_job("animals", task="classify", model="yolo26n-cls.yaml")
    trains(world, "animals-1", trainer)
    eventually(lambda: column(cluster, world, "animals", "MAP") == "0.87", "top-1 accuracy")


def test_events_are_written_once_and_in_order(
    cluster: Cluster, world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    first = start_operator()
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    eventually(lambda: "TrainingRunning" in world.events("digits"), "the Event TrainingRunning")
    first.kill()
    start_operator()
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(lambda: "Completed" in world.events("digits"), "the Event Completed")
    events = world.events("digits")
    assert len(events) == len(set(events))
    described = cluster.kubectl("-n", world.namespace, "describe", "ytj", "digits").partition("Events:")[2]
    shown = [line.split()[1] for line in described.splitlines()[3:] if line.strip()]
    assert shown == events
    (gpu,) = world.leases()
    event = world.event("digits", "PodCreated")
    assert event is not None
    assert event["metadata"]["annotations"] == {
        "gpurelay.dev/gpu": gpu,
        "gpurelay.dev/node": "node-1",
        "gpurelay.dev/fence": event["metadata"]["name"].split(".")[2],
    }


def test_why_events_go_through_core_v1(world: World, api: httpx.Client) -> None:
    """`kubectl describe` sorts by `lastTimestamp`, and events.k8s.io/v1 does not let a new Event have one."""
    now = "2026-01-01T00:00:00Z"
    event: Object = {
        "metadata": {"name": "e", "namespace": world.namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reason": "R",
        "action": "A",
        "note": "n",
        "type": "Normal",
        "reportingController": "gpu-relay",
        "reportingInstance": "i",
        "regarding": {"kind": "Pod", "namespace": world.namespace, "name": "p"},
    }
    path = f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events"
    refused = api.post(path, json={**event, "deprecatedLastTimestamp": now})
    assert refused.status_code == 422
    assert "needs to be unset" in refused.json()["message"]
    assert api.post(path, json=event).json().get("deprecatedLastTimestamp") is None
