"""`kubectl relay suspend`, `resume` and `cancel`."""

import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin, trains


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
