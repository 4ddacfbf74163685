"""Pods with several containers: the trainer's alone decides the result, and all of them keep the GPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container, restricted_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
Status = dict[str, Any]
RUNS: Status = {"running": {}}
CRASHED: Status = {"terminated": {"exitCode": 1, "reason": "Error"}}


def completed(**word: Any) -> Status:
    said = json.dumps({"reason": "Completed", "message": "said Completed", **word})
    return {"terminated": {"exitCode": 0, "reason": "Completed", "message": said}}


@pytest.fixture
def template(tmp_path: Path) -> str:
    """The site's template, with a sidecar whose name sorts before the trainer's, and a native one."""
    names = ("log-shipper", "proxy", "fetch")
    log_shipper, proxy, fetch = (restricted_pod(name, "x")["containers"][0] for name in names)
    spec = {"containers": [log_shipper], "initContainers": [fetch, {**proxy, "restartPolicy": "Always"}]}
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump({"spec": spec}))
    return str(path)


def shows(world: World, name: str, trainer: Status, sidecar: Status, proxy: Status = RUNS, *, phase: str) -> None:
    """Write a pod's status as a kubelet does: sorted by name."""
    init = [container(completed(), "fetch"), {**container(proxy, "proxy"), "started": True}]
    world.set_pod(
        name, phase=phase, initContainerStatuses=init,
        containerStatuses=[container(sidecar, "log-shipper"), container(trainer)],
    )  # fmt: skip


def starts(world: World, name: str) -> None:
    world.apply_job(name, backoffLimit=0)
    world.shows_pod(f"{name}-1")
    world.bind_pod(f"{name}-1", "node-1")


def test_a_sidecar_that_crashes_ends_no_turn(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    """Law 2: the resident was loaded, and the next pod created, beside a live trainer."""
    start_operator(trainer_pod_template=template)
    starts(world, "digits")
    shows(world, "digits-1", RUNS, CRASHED, phase="Running")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to run")
    assert world.attempts("digits") == []
    assert not resident.loaded
    shows(world, "digits-1", completed(), CRASHED, completed(), phase="Failed")
    world.reaches("digits", "Succeeded")
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["Completed"]
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_a_sidecar_without_an_image_does_not_stop_training(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    """Its pod stays Pending for as long."""
    start_operator(trainer_pod_template=template)
    world.apply_job("digits", backoffLimit=0)
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    world.shows_pod("digits-1")
    shows(world, "digits-1", RUNS, pulling, phase="Pending")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to run")
    shows(world, "digits-1", completed(), pulling, phase="Pending")
    world.reaches("digits", "Succeeded")


@pytest.mark.parametrize(
    ("sidecar", "proxy"), [(RUNS, completed()), (completed(), RUNS)], ids=["a container", "a native sidecar"]
)
def test_an_outliving_sidecar_is_stopped_before_the_gpu_is_released(
    world: World, resident: ScriptedResident, start_operator: Start, template: str, sidecar: Status, proxy: Status
) -> None:
    """Its pod holds a share of the GPU, so the next job's pod would find none."""
    start_operator(trainer_pod_template=template)
    starts(world, "digits")
    shows(world, "digits-1", RUNS, RUNS, phase="Running")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to run")
    world.apply_job("other")
    shows(world, "digits-1", completed(epoch=10), sidecar, proxy, phase="Running")
    eventually(lambda: world.attempts("digits"), "the attempt to be recorded")
    assert world.attempts("digits")[0]["reason"] == "Completed"
    eventually(lambda: not world.exists("digits-1"), "the pod to be asked to stop")
    assert (world.phase("digits"), world.pod_names()) == ("Releasing", ["digits-1"])
    assert all("/digits/" in holder for holder in world.leases().values())
    assert not resident.loaded
    world.delete_pod("digits-1")
    world.shows_pod("other-1")
    world.reaches("digits", "Succeeded")
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["Completed"]


def test_a_stuck_sidecar_is_reported(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    start_operator(trainer_pod_template=template, trainer_grace_period="1", pod_stuck_after="1")
    starts(world, "digits")
    shows(world, "digits-1", completed(), RUNS, phase="Running")
    condition = eventually(lambda: world.waits_for("digits", "PodStuck"), "the condition PodStuck")
    assert "check the kubelet of node node-1" in condition["message"]
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["Completed"]
    eventually(lambda: "PodStuck" in world.events("digits"), "the Event PodStuck")
    assert not resident.loaded
    world.delete_pod("digits-1")
    world.reaches("digits", "Succeeded")


def test_the_last_word_counts_though_the_pod_is_gone(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    operator = start_operator(trainer_pod_template=template)
    starts(world, "digits")
    shows(world, "digits-1", RUNS, RUNS, phase="Running")
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to run")
    operator.pause()
    shows(world, "digits-1", completed(), RUNS, phase="Running")
    world.delete_pod("digits-1")
    operator.resume()
    world.reaches("digits", "Succeeded", "Failed")
    assert [attempt["reason"] for attempt in world.attempts("digits")] == ["Completed"]


def test_a_preparing_pod_is_read_by_its_trainer(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    start_operator(trainer_pod_template=template, preparations="1")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    shows(world, "digits-1-prepare", RUNS, CRASHED, phase="Running")
    shows(world, "digits-1-prepare", completed(prepared={"seconds": 1}), CRASHED, phase="Running")
    world.shows_pod("digits-1")
    assert world.job("digits")["status"]["preparation"]["reason"] == "Completed"


# Init containers


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ({"waiting": {"reason": "ErrImagePull", "message": "no such tag"}}, "ImagePullFailed", "no such tag"),
        ({"waiting": {"reason": "CreateContainerError", "message": "no key"}}, "ContainerNotCreated", "no key"),
        ({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, "InitContainerFailed", "exit code 3"),
    ],
)
def test_an_init_container_that_does_not_start_is_named_soon(
    world: World,
    resident: ScriptedResident,
    start_operator: Start,
    template: str,
    state: Status,
    reason: str,
    said: str,
) -> None:
    start_operator(trainer_pod_template=template, start_failure_timeout="0.5")
    starts(world, "digits")
    last = {"terminated": {"exitCode": 3, "reason": "Error", "message": "the mirror is down"}}
    init = [container(completed(), "fetch"), {**container(state, "proxy"), "started": False, "lastState": last}]
    waits = {"waiting": {"reason": "PodInitializing"}}
    world.set_pod(
        "digits-1", phase="Pending", initContainerStatuses=init,
        containerStatuses=[container(waits, "log-shipper"), container(waits)],
    )  # fmt: skip
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Failed")
    attempt = world.attempts("digits")[0]
    assert attempt["reason"] == reason
    for words in ("init container proxy", said, "the mirror is down", "trainer-pod-template"):
        assert words in attempt["message"]
    assert "spec.podTemplate" not in attempt["message"], "the job's owner cannot correct it there"
    eventually(world.no_reload_pending, "the Lease to be settled")


def test_an_init_container_that_fails_ends_the_attempt_by_its_name(
    world: World, resident: ScriptedResident, start_operator: Start, template: str
) -> None:
    start_operator(trainer_pod_template=template)
    starts(world, "digits")
    waits = {"waiting": {"reason": "PodInitializing"}}
    failed = {"terminated": {"exitCode": 3, "reason": "Error", "message": "certificate has expired"}}
    world.set_pod(
        "digits-1", phase="Failed", initContainerStatuses=[container(failed, "fetch"), container(waits, "proxy")],
        containerStatuses=[container(waits, "log-shipper"), container(waits)],
    )  # fmt: skip
    world.reaches("digits", "Failed")
    attempt = world.attempts("digits")[0]
    assert attempt["reason"] == "InitContainerFailed"
    assert "init container fetch failed; exit code 3 (Error): certificate has expired" in attempt["message"]
