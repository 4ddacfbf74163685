"""`kubectl relay explain`, and names of jobs that do not exist."""

import json
import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains

GPU = "gpu-00000000-0000-0000-0000-000000000001"


def test_a_queued_job_is_explained(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.apply_job("defects")
    trains(world, relay_trainer, "defects")
    world.apply_job("urgent", priority=5)
    world.apply_job("digits")
    eventually(lambda: world.job("digits")["status"].get("queuePosition") == 2, "digits to be second")
    shown = relay("explain", "digits", "-n", world.namespace)
    assert shown.code == 0, shown.err
    name = world.namespace
    sentences = re.sub(r"\s+", " ", shown.out)
    assert f"{name}/digits waits for a GPU: number 2 in the queue." in sentences
    assert f"Before it in the queue: {name}/urgent (priority 5); its own priority is 0." in sentences
    assert re.search(rf"GPU {GPU} on node-1 is owned by {name}/defects since .*, Training, epoch 12/100", sentences)
    assert "A higher spec.priority" in sentences
    data = json.loads(relay("explain", "digits", "-n", name, "-o", "json").out)
    assert (data["phase"], data["reason"]) == ("Queued", "WaitingInQueue")


def test_a_failed_job_says_what_happened(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.end_pod("digits-1", "DatasetInvalid", 13, message="data.yaml: `names` is missing\x1b[2J")
    world.reaches("digits", "Failed")
    shown = relay("explain", "digits", "-n", world.namespace)
    assert "has failed" in shown.out
    assert "DatasetInvalid: data.yaml: `names` is missing" in shown.out
    assert "Fix that, delete this job" in shown.out
    assert "\x1b" not in shown.out, "a trainer cannot control the terminal"
    watched = relay("watch", "digits", "-n", world.namespace)
    assert watched.code == 10


def test_a_job_that_does_not_exist(world: World, relay: Plugin) -> None:
    world.apply_job("digits")
    near = relay("explain", "digit", "-n", world.namespace)
    assert near.code == 3
    assert "did you mean digits?" in near.err
    elsewhere = relay("watch", "digits", "-n", "default")
    assert f"there is one in {world.namespace}: use -n {world.namespace}" in elsewhere.err
