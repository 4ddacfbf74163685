"""`kubectl relay jobs`, and `suspend`, `resume` and `cancel`."""

import json
import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains


def test_jobs_lists_all_jobs_with_reason_position_and_eta(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    here, name = ("-n", world.namespace), world.namespace
    world.apply_job("defects")
    trains(world, relay_trainer, "defects")
    world.apply_job("urgent", priority=5)
    world.apply_job("digits")
    world.apply_job("paused", suspend=True)
    eventually(lambda: world.job("digits")["status"].get("queuePosition") == 2, "digits to be second")
    eventually(lambda: world.job("urgent")["status"].get("estimatedStartTime"), "the expected start of urgent")
    world.reaches("paused", "Suspended")
    shown = relay("jobs", *here)
    assert shown.code == 0, shown.err
    head, *lines = shown.out.splitlines()
    assert head.split() == ["JOB", "PHASE", "REASON", "POSITION", "EPOCH", "ETA", "AGE"]
    assert [line.split()[0] for line in lines] == [
        f"{name}/{each}" for each in ("defects", "urgent", "digits", "paused")
    ]
    assert re.search(r"Training +TrainingRunning +12/100 +ends in \d+m", lines[0])
    assert re.search(r"Queued +WaitingInQueue +1 +starts in \d+m", lines[1])
    assert re.search(r"Queued +WaitingInQueue +2 ", lines[2])
    assert re.search(r"Suspended +Suspended ", lines[3])
    read = json.loads(relay("jobs", *here, "-o", "json").out)["jobs"]
    assert [(each["job"]["name"], each["position"]) for each in read] == [
        ("defects", None), ("urgent", 1), ("digits", 2), ("paused", None),
    ]  # fmt: skip
    assert read[1]["starts"] == world.job("urgent")["status"]["estimatedStartTime"], "the operator's own estimate"
    everywhere = relay("jobs", "-A").out
    assert f"{name}/digits" in everywhere
    assert "not known" not in everywhere
    assert relay("jobs", "-n", "default").out.strip() == "No job in this namespace."


def test_suspend_resume_and_cancel(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    here = ("-n", world.namespace)
    world.apply_job("digits")
    trains(world, relay_trainer, "digits")
    done = relay("suspend", "digits", *here)
    assert done.out.startswith("yolotrainingjob.gpurelay.dev/digits suspended"), done.err
    world.end_pod("digits-1", "Interrupted", 143, epoch=12)
    world.reaches("digits", "Suspended")
    assert relay("watch", "digits", *here).code == 12
    assert "is suspended already" in relay("suspend", "digits", *here).out
    assert "resumed" in relay("resume", "digits", *here).out
    world.shows_pod("digits-2")
    unasked = relay("cancel", "digits", *here)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    declined = relay.on_a_terminal("cancel", "digits", *here, typed="n\n")
    assert declined.code == 1
    assert "a new job begins from the start" in re.sub(r"\s+", " ", declined.out)
    assert world.has_job("digits")
    assert relay("cancel", "digits", *here, "--yes").code == 0
    eventually(lambda: not world.has_job("digits"), "digits to be deleted")
