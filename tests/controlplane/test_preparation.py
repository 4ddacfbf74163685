"""Before the queue: data is fetched and checked in a pod without a GPU, while the resident keeps its memory."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import container
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
WORD = {"seconds": 41.23, "bytes": 812_345_678_901, "images": {"train": 3200, "val": 400}}


def preparation(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = world.job(name)["status"].get("preparation", {})
    return found


def shows_reason(world: World, name: str, reason: str) -> dict[str, Any]:
    return eventually(lambda: world.waits_for(name, reason), f"the condition {reason}")


def test_a_job_is_prepared_before_the_resident_is_asked(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="2", gpu_resource="nvidia.com/gpu")
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "4Gi"}}
    world.apply_job("digits", podTemplate={"resources": resources})
    world.shows_pod("digits-1-prepare")
    world.reaches("digits", "Preparing")
    pod = world.training_pods()[0]
    trainer = pod["spec"]["containers"][0]
    assert trainer["args"] == ["prepare"]
    assert trainer["resources"] == {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}
    preferred = pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred[0]["preference"]["matchFields"][0]["values"] == ["node-1"]
    assert (resident.called("unload"), world.leases()) == ([], {})
    world.end_pod("digits-1-prepare", message="prepared in 41.2 s", prepared=WORD)
    world.shows_pod("digits-1")
    record = preparation(world, "digits")
    assert (record["reason"], record.get("failures", 0), record["seconds"]) == ("Completed", 0, 41.2)
    assert (record["bytes"], record["images"]) == (WORD["bytes"], WORD["images"])
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    assert world.events("digits")[:3] == ["Preparing", "Prepared", "GPULeased"]
    assert preparation(world, "digits") == record


@pytest.mark.parametrize(("reason", "code"), [("DatasetInvalid", 13), ("ConfigInvalid", 14)])
def test_an_invalid_dataset_causes_no_outage(
    world: World, resident: ScriptedResident, start_operator: Start, reason: str, code: int
) -> None:
    start_operator(preparations="2")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    world.end_pod("digits-1-prepare", reason, code, message="labels/train/7.txt, line 3: class 12 of 10")
    world.reaches("digits", "Failed")
    condition = world.condition("digits", "Failed")
    assert (condition["reason"], condition["message"]) == (reason, "labels/train/7.txt, line 3: class 12 of 10")
    assert world.attempts("digits") == []
    assert [call for _, call, _ in resident.calls if call != "gpu"] == []


def test_a_missing_tracking_secret_is_named_before_a_turn(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="2")
    mlflow = {"uri": "http://mlflow.example:5000", "experiment": "digits"}
    world.apply_job("digits", tracking={"mlflow": mlflow, "tensorBoard": True, "secretName": "mlflow"})
    world.shows_pod("digits-1-prepare")
    world.bind_pod("digits-1-prepare", "node-1")
    missing = {"reason": "CreateContainerConfigError", "message": 'secret "mlflow" not found'}
    world.set_pod("digits-1-prepare", phase="Pending", containerStatuses=[container({"waiting": missing})])
    condition = shows_reason(world, "digits", "ContainerNotCreated")
    assert condition["message"].endswith(
        f"create Secret mlflow in namespace {world.namespace}, or correct what spec.tracking.secretName or "
        "spec.podTemplate refers to"
    )
    assert (resident.called("unload"), world.leases()) == ([], {})

    world.end_pod("digits-1-prepare")  # a user has created it
    world.shows_pod("digits-1")
    for name in ("digits-1-prepare", "digits-1"):
        pod = world.pod(name)
        secret = {"prefix": "GPU_RELAY_TRACKING_", "secretRef": {"name": "mlflow"}}
        assert pod["spec"]["containers"][0]["envFrom"] == [secret], "no key is taken for a variable of the relay"
        file = json.loads(pod["metadata"]["annotations"]["gpurelay.dev/job"])
        assert file["tracking"] == {"mlflow": mlflow, "tensorBoard": True}
    place = "http://mlflow.example:5000/#/experiments/1/runs/2"
    world.end_pod("digits-1", tracking={"MLflow": place})
    world.reaches("digits", "Succeeded")
    assert world.job("digits")["status"]["results"]["tracking"] == {"MLflow": place}


def test_a_preparation_that_fails_is_tried_again_up_to_the_limit(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="2", backoff_base="2")
    world.apply_job("digits", backoffLimit=1)
    world.shows_pod("digits-1-prepare")
    world.end_pod("digits-1-prepare", "Interrupted", 143)  # costs nothing
    world.shows_pod("digits-2-prepare")
    world.end_pod("digits-2-prepare", "Error", 1, message="https://example.org: no route")
    condition = shows_reason(world, "digits", "PreparationFailed")
    assert "no route" in condition["message"]
    world.shows_pod("digits-3-prepare")
    world.end_pod("digits-3-prepare", "Error", 1, message="https://example.org: no route")
    world.reaches("digits", "Failed")
    condition = world.condition("digits", "Failed")
    assert condition["reason"] == "BackoffLimitExceeded"
    assert condition["message"].startswith("2 preparations failed, backoffLimit is 1; the last one: Error: https")
    assert preparation(world, "digits")["number"] == 3
    assert resident.called("unload") == []


@pytest.mark.usefixtures("room")
def test_a_few_at_a_time_in_the_queues_order(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    for name, priority in (("low", 0), ("high", 5), ("middle", 3)):
        world.apply_job(name, priority=priority)
    start_operator(preparations="1")
    world.shows_pod("high-1-prepare")
    for name in ("middle", "low"):
        condition = shows_reason(world, name, "WaitingToPrepare")
        assert condition["message"].startswith("1 other jobs are being prepared")
    world.end_pod("high-1-prepare")
    world.shows_pod("high-1")
    world.shows_pod("middle-1-prepare")
    assert world.pod_names() == ["high-1", "high-1-prepare", "middle-1-prepare"]
    world.end_pod("middle-1-prepare")
    shows_reason(world, "middle", "WaitingInQueue")
    world.shows_pod("low-1-prepare")


def test_suspending_stops_a_preparation_and_resuming_begins_it_again(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    world.apply_job("other")
    world.patch_job("digits", suspend=True)
    world.reaches("digits", "Suspended")
    eventually(lambda: "digits-1-prepare" not in world.pod_names(), "the preparing pod to be gone")
    world.shows_pod("other-1-prepare")
    world.end_pod("other-1-prepare")
    world.patch_job("digits", suspend=False)
    world.shows_pod("digits-1-prepare")
    world.reaches("digits", "Preparing")
    assert world.condition("digits", "Suspended")["reason"] == "Resumed"
    world.end_pod("digits-1-prepare")
    shows_reason(world, "digits", "WaitingInQueue")
    assert [each for each in world.events("digits") if each in {"Suspended", "Resumed"}] == ["Suspended", "Resumed"]


def test_operator_and_pod_may_die_while_a_job_is_prepared(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    first = start_operator(preparations="1")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    first.kill()
    world.delete_pod("digits-1-prepare")
    second = start_operator(preparations="1")
    world.shows_pod("digits-1-prepare")
    second.kill()
    world.end_pod("digits-1-prepare")
    start_operator(preparations="1")
    world.shows_pod("digits-1")
    assert preparation(world, "digits")["number"] == 1


def test_results_without_a_claim_leave_nothing_to_prepare_on(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="2")
    world.apply_job("digits", output={"uri": "s3://models/digits"})
    world.shows_pod("digits-1")
    assert world.pod_names() == ["digits-1"]
    assert preparation(world, "digits") == {}


def test_a_preparing_pod_that_does_not_start_is_reported_and_deleted(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1", pod_start_timeout="3")
    world.apply_job("digits")
    world.shows_pod("digits-1-prepare")
    world.bind_pod("digits-1-prepare", "node-1")
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
    world.set_pod("digits-1-prepare", phase="Pending", containerStatuses=[container(waiting)])
    condition = shows_reason(world, "digits", "ImagePullFailed")
    assert "podTemplate.image" in condition["message"]
    world.shows_pod("digits-2-prepare")
    assert preparation(world, "digits")["failures"] == 1


def test_an_invalid_preparing_pod_fails_its_job(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    start_operator(preparations="1")
    world.apply_job("digits", podTemplate={"resources": {"requests": {"cpu": "8"}, "limits": {"cpu": "4"}}})
    world.reaches("digits", "Failed")
    failed = world.condition("digits", "Failed")
    assert failed["reason"] == "PodRefused"
    assert "must be less than or equal to cpu limit" in failed["message"]
    assert "correct spec.podTemplate in a new job" in failed["message"]


def test_a_refused_preparing_pod_is_retried(
    world: World, api: httpx.Client, resident: ScriptedResident, start_operator: Start
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "1"}}}
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    assert api.post(path, json=quota).is_success
    eventually(lambda: api.get(f"{path}/none").json()["status"].get("used"), "the quota to count")
    start_operator(preparations="1", backoff_base="1")
    world.apply_job("digits", backoffLimit=0)
    condition = shows_reason(world, "digits", "PodRefused")
    assert "exceeded quota" in condition["message"]
    api.delete(f"{path}/none")
    world.shows_pod("digits-1-prepare")
    assert "failures" not in preparation(world, "digits")
