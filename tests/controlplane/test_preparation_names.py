"""The name of a preparing pod may be taken by a pod that is not the job's: the job waits, and nothing has failed."""

from collections.abc import Callable

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
pytestmark = pytest.mark.usefixtures("room")


def name_is_taken(world: World, words: str) -> str:
    def look() -> str | None:
        condition = world.waits_for("digits", "PodNameTaken")
        return str(condition["message"]) if condition and words in condition["message"] else None

    return eventually(look, f"digits to wait for a pod that is {words}")


def is_prepared(world: World) -> None:
    eventually(lambda: world.exists("digits-1-prepare"), "the new job's own pod")
    world.run_pod("digits-1-prepare")
    eventually(lambda: world.waits_for("digits", "Preparing"), "its preparation")
    assert world.job("digits")["status"]["preparation"].get("failures", 0) == 0
    world.end_pod("digits-1-prepare")
    world.shows_pod("digits-1")


def test_the_same_name_again_waits_for_the_pod_of_the_deleted_job(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    eventually(lambda: world.node_of("digits-1-prepare"), "a node, so that the pod's end takes a kubelet's word")
    world.run_pod("digits-1-prepare")
    world.delete_job("digits")
    eventually(lambda: not world.has_job("digits"), "the job to be gone")
    world.apply_job("digits", backoffLimit=0)
    name_is_taken(world, "still ending")
    world.delete_as_kubelet("digits-1-prepare")
    is_prepared(world)


def test_a_foreign_pod_of_that_name_is_waited_for(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    world.create_pod("digits-1-prepare")
    start_operator(preparations="1")
    world.apply_job("digits", backoffLimit=0)
    assert "delete it, or rename the job" in name_is_taken(world, "belongs to another owner")
    world.apply_job("other")
    world.shows_pod("other-1-prepare")
    world.delete_pod("digits-1-prepare")
    is_prepared(world)
