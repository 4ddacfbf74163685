"""`kubectl relay watch`: a job is followed until it finishes."""

import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from tests.support.plugin import Plugin, trains


def test_a_running_job_is_watched_to_its_end(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, relay_trainer: ScriptedTrainer
) -> None:
    world.apply_job("digits")
    trains(world, relay_trainer, "digits")
    watch = relay.start("watch", "digits", "-n", world.namespace)
    assert watch.stdout is not None
    assert "Training  epoch 12/100  mAP50 0.61" in watch.stdout.readline()
    relay_trainer.epoch, relay_trainer.metrics = 57, {"mAP50": 0.85, "mAP50_95": 0.53}
    assert "epoch 57/100  mAP50 0.85" in watch.stdout.readline()
    world.end_pod("digits-1", epoch=100, message="100 of 100 epochs")
    rest = watch.stdout.read()
    assert "Succeeded  epoch 100/100" in rest.splitlines()[-1]
    assert watch.wait(30) == 0
    shown = relay.on_a_terminal("watch", "digits", "-n", world.namespace)
    assert shown.code == 0
    assert "\x1b[" in shown.out
    assert re.search(r"━{20}.*epoch 100/100", shown.out)
    plain = relay.on_a_terminal("watch", "digits", "-n", world.namespace, NO_COLOR="1")
    assert "\x1b[3" not in plain.out, "no colours where somebody wants none"


def test_a_watch_ends_with_the_job_however_it_ends(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    assert relay("watch", "digits", "-n", world.namespace, "--timeout", "1s").code == 13
    following = relay.start("watch", "digits", "-n", world.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    world.delete_job("digits")
    assert following.wait(30) == 11
    assert "was deleted" in (following.stderr.read() if following.stderr else "")
