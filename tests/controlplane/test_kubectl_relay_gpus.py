"""`kubectl relay gpus`: the owner of each GPU, its memory and its queue."""

import json
import re
import signal

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains

GPU = "gpu-00000000-0000-0000-0000-000000000001"


def test_gpus_shows_the_owner_and_the_queue(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.apply_job("defects")
    trains(world, relay_trainer, "defects")
    world.apply_job("digits")
    world.apply_job("huge", memory="40Gi", priority=-1)
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait")
    eventually(lambda: world.waits_for("huge", "NoGpuFits"), "huge to wait")
    shown = relay("gpus", "-n", world.namespace)
    assert shown.code == 0, shown.err
    assert re.search(rf"{GPU}  Tesla T4  on node-1", shown.out)
    assert re.search(rf"owner +{world.namespace}/defects for .*, Training, epoch 12/100, should end at", shown.out)
    assert re.search(rf"resident  unloaded, unavailable for .*{world.namespace}/sam3", shown.out)
    assert re.search(rf"queue +1  {world.namespace}/digits  needs 10,240 MiB", shown.out)
    assert re.search(rf"no GPU suits  {world.namespace}/huge \(40,960 MiB\)", shown.out)
    assert "\x1b" not in shown.out
    view = json.loads(relay("gpus", "-n", world.namespace, "-o", "json").out)
    (gpu,) = (each for each in view["gpus"] if each["key"] == GPU)
    assert gpu["owner"]["job"]["name"] == "defects"
    assert [each["job"]["name"] for each in gpu["queue"]] == ["digits"]
    assert "renew" not in json.dumps(view), "the key that renews a hold is secret"
    resident.faults.report = "the driver does not answer"
    shown = relay("gpus", "-n", world.namespace)
    assert re.search(
        rf"resident  unloaded \(according to the Lease\), unavailable for .*{world.namespace}/sam3", shown.out
    )
    assert "14,910 MiB were measured free before" in shown.out


def test_gpus_are_followed(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    following = relay.start("gpus", "--watch", "-n", world.namespace)
    assert following.stdout is not None
    before = [following.stdout.readline() for _ in range(2)]
    assert re.fullmatch(r"[\d:]{8}\n", before[0])
    world.apply_job("digits")
    trains(world, relay_trainer, "digits")
    owned = next(line for line in following.stdout if f"owner     {world.namespace}/digits" in line)
    assert "Training" in owned or "Acquiring" in owned
    following.send_signal(signal.SIGINT)
    following.stdout.read()
    assert following.wait(30) == 130
    shown = relay.on_a_terminal("gpus", "--watch", "-n", world.namespace, until="epoch 12/100")
    assert shown.code == 130
    assert "Traceback" not in shown.out
    assert GPU in shown.out


def test_gpus_measures_on_this_machine(world: World, resident: ScriptedResident, relay: Plugin) -> None:
    """The API server's proxy refuses the loopback addresses that the process node gives to pods."""
    shown = relay("gpus", "-n", world.namespace)
    assert "14,000 MiB used, 910 MiB free of 15,360 MiB" in shown.out
    assert "could not be asked" not in shown.out


def test_gpus_measures_through_the_api_server(
    world: World, reachable: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.add_resident(reachable)
    before = relay("gpus", "-n", world.namespace).out
    assert "14,000 MiB used, 910 MiB free of 15,360 MiB" in before
    assert re.search(r"resident  loaded  ", before)
    world.apply_job("digits")
    trains(world, relay_trainer, "digits")
    reachable.trainer_mib, reachable.refused, reachable.residual_mib = 10_240, 3, 1_200
    after = relay("gpus", "-n", world.namespace).out
    assert "10,240 MiB used, 4,670 MiB free of 15,360 MiB" in after
    assert re.search(r"resident  unloaded, unavailable for .*, 3 requests refused meanwhile, keeps 1,200 MiB", after)
