"""`kubectl relay timeline`: the history of a GPU."""

import json
import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains

GPU = "gpu-00000000-0000-0000-0000-000000000001"


def test_the_timeline_of_a_gpu(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.apply_job("first")
    trains(world, relay_trainer, "first")
    world.end_pod("first-1", epoch=100)
    world.reaches("first", "Succeeded")
    eventually(lambda: "ResidentLoaded" in world.events("first"), "the Event that the resident is back")
    world.apply_job("second")
    trains(world, relay_trainer, "second")
    shown = relay("timeline", "-n", world.namespace)
    assert shown.code == 0, shown.err
    assert re.search(rf"{GPU}  on node-1\n +A+.*B+\n", shown.out)
    assert re.search(rf"A  {world.namespace}/first +[\d:]+ +[\d:]+ +\d+s +Completed +after \d+s", shown.out)
    assert re.search(rf"B  {world.namespace}/second +[\d:]+ +now", shown.out)
    world.delete_job("first")
    eventually(lambda: not world.has_job("first"), "first to be deleted")
    turns = json.loads(relay("timeline", "-n", world.namespace, "-o", "json").out)["gpus"][0]["turns"]
    assert [turn["job"]["name"] for turn in turns] == ["first", "second"], "Events outlive a job"
    assert turns[0]["over"]
    assert turns[0]["back"]


def test_a_job_that_was_deleted_while_it_trained_is_not_the_owner_now(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    eventually(lambda: "PodCreated" in world.events("first"), "the Event that the pod was created")
    world.delete_job("first")
    eventually(lambda: world.pod_names() == [], "the training pod to go")
    eventually(world.no_reload_pending, "the Lease to be settled")
    world.apply_job("second")
    trains(world, relay_trainer, "second")
    (line,) = json.loads(relay("timeline", "-n", world.namespace, "-o", "json").out)["gpus"]
    assert (line["gpu"], line["node"]) == (GPU, "node-1")
    first, second = line["turns"]
    assert (first["job"]["name"], first["over"], first["end"]) == ("first", True, None)
    assert first["endedBy"] == second["begin"]
    assert (second["job"]["name"], second["over"]) == ("second", False)
    shown = relay("timeline", "-n", world.namespace).out
    assert re.search(rf"A  {world.namespace}/first +[\d:]+ +by [\d:]+ ", shown)
    assert re.search(rf"B  {world.namespace}/second +[\d:]+ +now", shown)
