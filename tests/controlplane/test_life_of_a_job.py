"""Retries, suspension, refusals: what a user sees of a job that does not simply succeed."""

import json
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually


def test_out_of_memory_is_tried_again_with_half_the_batch(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", training={"batch": 16})
    eventually(lambda: world.pod_names() == ["digits-1"], "the first attempt")
    world.end_pod("digits-1", "OutOfMemory", 12)
    eventually(lambda: "digits-2" in world.pod_names(), "the second attempt")
    assert '"batch": 8' in _job_file(world, "digits-2")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    attempts = world.job("digits")["status"]["attempts"]
    assert [(a["reason"], a["batch"]) for a in attempts] == [("OutOfMemory", 16), ("Completed", 8)]


def test_a_broken_data_set_is_never_tried_again(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.end_pod("digits-1", "DatasetInvalid", 13)
    world.reaches("digits", "Failed")
    assert world.condition("digits", "Stalled")["reason"] == "DatasetInvalid"
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_errors_are_tried_again_up_to_the_limit(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", backoffLimit=1)
    for attempt in ("digits-1", "digits-2"):
        world.shows_pod(attempt)
        world.end_pod(attempt, "Error", 1)
    world.reaches("digits", "Failed")
    assert world.condition("digits", "Failed")["reason"] == "BackoffLimitExceeded"


def test_a_pod_deleted_by_hand_costs_no_attempt(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", backoffLimit=0)
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.run_pod("digits-1")
    world.reaches("digits", "Training")
    world.delete_pod("digits-1")
    eventually(lambda: "digits-2" in world.pod_names(), "the second attempt")
    assert world.job("digits")["status"]["attempts"][0]["reason"] == "PodLost"


def test_suspend_releases_the_gpu_and_resume_continues(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.patch_job("digits", suspend=True)
    world.reaches("digits", "Suspended")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded
    assert world.condition("digits", "Suspended")["status"] == "True"
    world.patch_job("digits", suspend=False)
    eventually(lambda: "digits-2" in world.pod_names(), "the second attempt")


def test_a_job_that_starts_suspended_takes_nothing(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", suspend=True)
    world.reaches("digits", "Suspended")
    assert resident.loaded
    assert world.leases() == {}


def test_higher_priority_goes_first(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    world.apply_job("running")
    eventually(lambda: world.pod_names() == ["running-1"], "the first training pod")
    world.apply_job("low")
    world.apply_job("high", priority=10)
    eventually(lambda: world.job("low")["status"].get("queuePosition") == 2, "low to be second")
    assert world.job("high")["status"]["queuePosition"] == 1
    world.end_pod("running-1")
    eventually(lambda: "high-1" in world.pod_names(), "the job of high priority")
    assert "low-1" not in world.pod_names()


def test_a_job_that_fits_no_gpu_blocks_no_other(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("huge", memory="40Gi")
    condition = eventually(lambda: _condition(world, "huge", "NoGpuFits"), "the condition NoGpuFits")
    assert "Tesla T4 on node-1 has at most 14,654 MiB" in condition["message"]
    world.apply_job("small")
    eventually(lambda: world.pod_names() == ["small-1"], "the training pod of the small job")


def test_arguments_that_the_relay_sets_are_refused(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", training={"args": {"device": "cpu"}})
    world.reaches("digits", "Failed")
    stalled = world.condition("digits", "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert "training.args.device" in stalled["message"]
    assert resident.loaded


@pytest.mark.parametrize(
    ("name", "spec", "sentence"),
    [
        ("with.dots", {}, "at most 52"),
        ("memory", {"gpu": {"memory": "lots"}}, "spec.gpu.memory"),
        (
            "absolute",
            {"dataset": {"persistentVolumeClaim": {"claimName": "d"}, "path": "/etc"}},
            "relative to the volume",
        ),
        ("upwards", {"output": {"persistentVolumeClaim": {"claimName": "d"}, "path": "a/../b"}}, "no '..'"),
        ("nowhere", {"dataset": {"path": "x"}}, "dataset.persistentVolumeClaim or dataset.uri"),
        (
            "both",
            {"dataset": {"persistentVolumeClaim": {"claimName": "d"}, "uri": "https://a/b.zip"}},
            "dataset.persistentVolumeClaim or dataset.uri, and not both",
        ),
        ("ftp", {"dataset": {"uri": "ftp://a/b.zip"}}, "spec.dataset.uri"),
        ("lost", {"output": {"path": "x"}}, "give output.persistentVolumeClaim, output.uri, or both"),
        ("epochs", {"training": {"epochs": 0}}, "greater than or equal to 1"),
        ("task", {"task": "dream"}, "spec.task"),
    ],
)
def test_the_api_server_refuses_what_makes_no_sense(
    world: World, api: httpx.Client, name: str, spec: dict[str, Any], sentence: str
) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
    answer = api.post(path, json=job_manifest(name, **spec))
    assert answer.status_code == 422
    assert sentence in answer.json()["message"]


def test_data_and_results_may_be_behind_uris(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("far", dataset={"uri": "s3://data/digits.zip"}, output={"uri": "s3://models/far"})
    world.shows_pod("far-1")
    pod = world.training_pods()[0]
    contents = json.loads(pod["metadata"]["annotations"]["gpurelay.dev/job"])
    assert (contents["dataset"]["uri"], contents["output"]["uri"]) == ("s3://data/digits.zip", "s3://models/far")
    world.run_pod("far-1")
    world.end_pod("far-1", weights={"best": "s3://models/far/weights/best.pt"})
    world.reaches("far", "Succeeded")
    assert world.job("far")["status"]["results"]["weights"] == {"best": "s3://models/far/weights/best.pt"}


def test_what_was_trained_on_cannot_be_changed(world: World, api: httpx.Client) -> None:
    world.apply_job("digits")
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/digits"
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = api.patch(path, content='{"spec": {"model": "other.yaml"}}', headers=headers)
    assert answer.status_code == 422
    assert "create a new job instead" in answer.json()["message"]


def _condition(world: World, job: str, reason: str) -> dict[str, Any] | None:
    condition = world.condition(job, "Reconciling")
    return condition if condition.get("reason") == reason else None


def _job_file(world: World, pod: str) -> str:
    found = next(item for item in world.training_pods() if item["metadata"]["name"] == pod)
    return str(found["metadata"]["annotations"]["gpurelay.dev/job"])
