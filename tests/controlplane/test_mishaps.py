"""What befalls a training pod: each mishap has a reason of its own, a remedy, and the right next step."""

from collections.abc import Callable
from typing import Any

import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]


def waits(reason: str, message: str) -> dict[str, Any]:
    """Return a pod's status whose container waits."""
    return {"phase": "Pending", "containerStatuses": [container({"waiting": {"reason": reason, "message": message}})]}


@pytest.mark.parametrize(
    ("word", "said", "reason", "remedy"),
    [
        ("ErrImagePull", "manifest unknown", "ImagePullFailed", "correct spec.podTemplate.image"),
        ("ImagePullBackOff", "Back-off pulling image", "ImagePullFailed", "imagePullSecrets"),
        ("InvalidImageName", "couldn't parse image name", "ImagePullFailed", "correct spec.podTemplate.image"),
        ("CreateContainerConfigError", 'secret "key" not found', "ContainerNotCreated", "spec.podTemplate refers to"),
    ],
)
def test_what_cannot_start_gives_the_gpu_back_soon(
    world: World,
    resident: ScriptedResident,
    start_operator: Start,
    word: str,
    said: str,
    reason: str,
    remedy: str,
) -> None:
    start_operator(start_failure_timeout="0.5")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.set_pod("digits-1", **waits(word, said))
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Failed")
    attempt = world.job("digits")["status"]["attempts"][0]
    assert attempt["reason"] == reason
    assert said in attempt["message"]
    assert remedy in attempt["message"]
    assert world.condition("digits", "Failed")["reason"] == "BackoffLimitExceeded"
    eventually(lambda: reason in world.events("digits"), f"the Event {reason}")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_a_failure_that_heals_is_reported_and_waited_for(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """A registry that stumbles costs nothing: the time counts from the first failure."""
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.set_pod("digits-1", **waits("ErrImagePull", "registry is down"))
    condition = eventually(lambda: world.waits_for("digits", "ImagePullFailed"), "the condition ImagePullFailed")
    assert "registry is down" in condition["message"]
    world.run_pod("digits-1")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to run")


def test_an_unschedulable_pod_is_reported_and_releases_the_gpu(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(start_failure_timeout="3")
    world.apply_job("digits", backoffLimit=0, podTemplate={"resources": {"requests": {"cpu": "900"}}})
    world.shows_pod("digits-1")  # the scheduler is real: node-1 has no 900 CPUs
    condition = eventually(lambda: world.waits_for("digits", "Unschedulable"), "the condition Unschedulable")
    assert "not scheduled: 0/2 nodes are available" in condition["message"]
    assert "change spec.podTemplate" in condition["message"]
    world.reaches("digits", "Failed")
    assert world.job("digits")["status"]["attempts"][0]["reason"] == "Unschedulable"
    assert resident.loaded


def test_a_pod_that_does_not_start_for_no_known_reason(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(pod_start_timeout="3")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.set_pod("digits-1", **waits("ContainerCreating", ""))
    eventually(lambda: world.waits_for("digits", "PodNotStarted"), "the condition PodNotStarted")
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Failed")
    assert world.job("digits")["status"]["attempts"][0]["reason"] == "PodNotStarted"


def test_host_memory(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    world.apply_job("digits", backoffLimit=1)
    world.shows_pod("digits-1")
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    world.set_pod("digits-1", phase="Failed", containerStatuses=[container({"terminated": killed})])
    attempt = first_attempt(world)
    assert (attempt["reason"], attempt["exitCode"]) == ("OOMKilled", 137)
    assert "raise spec.podTemplate.resources.limits.memory" in attempt["message"]
    world.patch_job("digits", podTemplate={"resources": {"limits": {"memory": "8Gi"}}})
    world.shows_pod("digits-2")
    pod = next(pod for pod in world.training_pods() if pod["metadata"]["name"] == "digits-2")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "8Gi"


def test_an_eviction_for_want_of_memory_costs_an_attempt(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """The training itself may be the cause, so it is not repeated indefinitely."""
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.set_pod("digits-1", phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    world.reaches("digits", "Failed")
    attempt = first_attempt(world)
    assert attempt["reason"] == "Evicted"
    assert "low on resource: memory" in attempt["message"]
    assert "set spec.podTemplate.resources.requests" in attempt["message"]


def test_a_drain_costs_nothing(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.evict_pod("digits-1")
    condition = eventually(lambda: world.waits_for("digits", "Disrupted"), "the condition Disrupted")
    assert "its node is being drained" in condition["message"]
    world.end_pod("digits-1", "Interrupted", 143)
    world.delete_as_kubelet("digits-1")
    world.shows_pod("digits-2")
    attempt = first_attempt(world)
    assert attempt["reason"] == "Disrupted"
    assert "its node is being drained" in attempt["message"]


@pytest.mark.parametrize("word", ["UnexpectedAdmissionError", "OutOfnvidia.com/gpu", "TopologyAffinityError"])
def test_a_node_that_refuses_the_pod(
    world: World, resident: ScriptedResident, operator: OperatorProcess, word: str
) -> None:
    """Its device plugin or driver restarts, for example: no container has run, and no attempt is counted."""
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.set_pod("digits-1", phase="Failed", reason=word, message="no device is healthy")
    world.shows_pod("digits-2")
    assert "no device is healthy" in first_attempt(world)["message"]
    assert first_attempt(world)["reason"] == "NodeRefusedPod"


@pytest.mark.parametrize(
    ("reason", "code", "phase"),
    [("GpuMemoryUnavailable", 10, "Training"), ("WrongGpu", 11, "Training"), ("ConfigInvalid", 14, "Failed")],
)
def test_the_trainers_reasons_are_recorded(
    world: World, resident: ScriptedResident, operator: OperatorProcess, reason: str, code: int, phase: str
) -> None:
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.end_pod("digits-1", reason, code)
    eventually(lambda: len(world.attempts("digits")) == 1, "the attempt to be recorded")
    assert first_attempt(world)["reason"] == reason
    if phase == "Training":
        world.shows_pod("digits-2")
    world.reaches("digits", phase)


def test_a_pod_deleted_by_hand_gets_advice_on_suspend(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    world.delete_pod("digits-1", grace=30)
    condition = eventually(lambda: world.waits_for("digits", "Stopping"), "the condition Stopping")
    assert "set spec.suspend or delete the job" in condition["message"]
    world.end_pod("digits-1", "Interrupted", 143)
    world.delete_pod("digits-1")
    world.shows_pod("digits-2")
    assert first_attempt(world)["reason"] == "Interrupted"


def test_a_lost_node_keeps_its_gpu_until_it_is_marked_down(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Law 2: the pod may still train, so neither another job nor the resident gets the GPU."""
    world.create_node("node-3")
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-3")
    world.run_pod("digits-1")
    world.set_node("node-3", "Unknown", "Kubelet stopped posting node status.")
    condition = eventually(lambda: world.waits_for("digits", "NodeLost"), "the condition NodeLost")
    assert "Kubelet stopped posting node status" in condition["message"]
    assert "node.kubernetes.io/out-of-service=down:NoExecute" in condition["message"]
    world.delete_pod("digits-1", grace=1)  # as the taint manager does; no kubelet will ever confirm it
    world.apply_job("other", priority=1)
    world.reaches("other", "Queued")
    assert not resident.loaded
    assert world.pod_names() == ["digits-1"]
    world.delete_pod("digits-1")  # as the garbage collector does, on a node that is declared out of service
    world.shows_pod("other-1")
    attempt = first_attempt(world)
    assert attempt["reason"] == "NodeLost"
    world.delete_node("node-3")


def test_a_stuck_pod_is_reported(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    start_operator(pod_stuck_after="1")
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    world.delete_pod("digits-1", grace=1)
    condition = eventually(lambda: world.waits_for("digits", "PodStuck"), "the condition PodStuck")
    assert "check the kubelet of node node-1" in condition["message"]
    assert not resident.loaded
    eventually(lambda: "PodStuck" in world.events("digits"), "the Event PodStuck")


def first_attempt(world: World) -> dict[str, Any]:
    eventually(lambda: world.attempts("digits"), "an attempt to be recorded")
    return world.attempts("digits")[0]
