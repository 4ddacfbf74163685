"""A pod that is not the job's may have the name of its next pod: the job waits, and nothing has failed."""

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


def test_a_preparation_waits_for_the_pod_of_the_deleted_job(
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


@pytest.mark.parametrize("ended", [True, False])
def test_the_preparing_pod_of_a_job_deleted_without_its_pods_is_deleted(
    world: World, resident: ScriptedResident, start_operator: Start, ended: bool
) -> None:
    """`kubectl delete --cascade=orphan` keeps the pod, and the next job of that name needs the pod's name."""
    start_operator(preparations="1")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    eventually(lambda: world.node_of("digits-1-prepare"), "a node, so that the pod's end takes a kubelet's word")
    world.run_pod("digits-1-prepare")
    before = world.pod_uid("digits-1-prepare")
    world.delete_job("digits", policy="Orphan")
    eventually(lambda: not world.has_job("digits"), "the old job to be gone")
    if ended:
        world.end_pod("digits-1-prepare")
    world.apply_job("digits", backoffLimit=0)
    if not ended:
        world.delete_as_kubelet("digits-1-prepare")
    eventually(lambda: world.pod_uid("digits-1-prepare") not in {"", before}, "the new job's own pod")
    is_prepared(world)


def test_a_preparation_waits_for_a_foreign_pod(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    world.create_pod("digits-1-prepare")
    start_operator(preparations="1")
    world.apply_job("digits", backoffLimit=0)
    assert "delete it, or rename the job" in name_is_taken(world, "belongs to another owner")
    world.apply_job("other")
    world.shows_pod("other-1-prepare")
    world.delete_pod("digits-1-prepare")
    is_prepared(world)


def test_a_training_waits_for_the_pod_of_the_deleted_job(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """`kubectl delete` and `kubectl apply` while the old training writes its checkpoint; another GPU is free."""
    other = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000009")
    world.add_resident(other, name="sam3-other", node="node-2")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    world.delete_job("digits", policy="Orphan")
    eventually(lambda: not world.has_job("digits"), "the old job to be gone")
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: not world.exists("digits-1"), "the old pod to be asked to stop")
    condition = eventually(lambda: world.waits_for("digits", "PodNameTaken"), "the condition PodNameTaken")
    assert "the job waits until it is gone" in condition["message"]
    world.delete_as_kubelet("digits-1")
    world.shows_pod("digits-1")
    assert world.exists("digits-1")
    assert world.attempts("digits") == []
    other.close()


def test_the_ended_pod_of_a_job_deleted_without_its_pods_is_deleted(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    before = world.pod_uid("digits-1")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    world.delete_job("digits", policy="Orphan")
    eventually(lambda: not world.has_job("digits"), "the old job to be gone")
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.pod_uid("digits-1") not in {"", before}, "the new job's own pod")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")


def test_a_training_waits_for_a_foreign_pod(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.create_pod("digits-1")
    world.apply_job("digits", backoffLimit=0)
    condition = eventually(lambda: world.waits_for("digits", "PodNameTaken"), "the condition PodNameTaken")
    assert "delete it, or rename the job" in condition["message"]
    assert not resident.called("unload")
    world.delete_pod("digits-1")
    world.shows_pod("digits-1")
    assert world.attempts("digits") == []
