"""Deadlines, time to live, suspension and deletion: a job ends when it should, and always gives its GPU back."""

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from gpu_relay.domain.quantities import timestamp

Start = Callable[..., OperatorProcess]


def test_a_deadline_stops_the_training_through_its_checkpoint(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits", activeDeadlineSeconds=4)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    condition = eventually(lambda: world.waits_for("digits", "DeadlineExceeded"), "the condition DeadlineExceeded")
    assert "activeDeadlineSeconds (4 s)" in condition["message"]
    assert not resident.loaded, "the training may still write its checkpoint"
    world.end_pod("digits-1", "Interrupted", 143, epoch=3)
    world.reaches("digits", "Failed")
    assert world.condition("digits", "Failed")["reason"] == "DeadlineExceeded"
    attempt = world.attempts("digits")[0]
    assert (attempt["reason"], attempt["epoch"]) == ("DeadlineExceeded", 3)
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded
    assert "digits-2" not in world.pod_names()


def test_a_deadline_holds_between_attempts_too(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    start_operator(backoff_base="600", backoff_cap="600")
    world.apply_job("digits", activeDeadlineSeconds=5)
    world.shows_pod("digits-1")
    world.end_pod("digits-1", "Error", 1)
    eventually(lambda: world.waits_for("digits", "WaitingForBackoff"), "the condition WaitingForBackoff")
    world.reaches("digits", "Failed")
    assert world.condition("digits", "Failed")["reason"] == "DeadlineExceeded"
    eventually(lambda: "DeadlineExceeded" in world.events("digits"), "the Event DeadlineExceeded")
    assert resident.loaded


def test_a_deadline_ends_an_acquisition(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    resident.faults.leak_mib = 5000
    world.apply_job("digits", activeDeadlineSeconds=3)
    world.reaches("digits", "Acquiring")
    world.reaches("digits", "Failed")
    assert world.condition("digits", "Stalled")["reason"] == "DeadlineExceeded"
    assert world.attempts("digits") == []


def test_waiting_for_the_first_turn_and_suspension_do_not_count(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    world.apply_job("second", activeDeadlineSeconds=1000)
    world.reaches("second", "Queued")
    assert "startTime" not in world.job("second")["status"]
    world.end_pod("first-1")
    world.shows_pod("second-1")
    began = world.job("second")["status"]["startTime"]
    world.patch_job("second", suspend=True)
    world.reaches("second", "Suspended")
    assert "startTime" not in world.job("second")["status"]
    eventually(lambda: timestamp(datetime.now(UTC)) > began, "a later second, the unit of start times")
    world.patch_job("second", suspend=False)
    world.shows_pod("second-2")
    eventually(lambda: world.job("second")["status"].get("startTime", began) > began, "a new start time")


def test_lifetimes_may_be_changed_and_must_make_sense(world: World, api: httpx.Client) -> None:
    world.apply_job("digits", suspend=True)
    world.patch_job("digits", activeDeadlineSeconds=60, ttlSecondsAfterFinished=0)
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/digits"
    headers = {"Content-Type": "application/merge-patch+json"}
    for field, value in (("activeDeadlineSeconds", 0), ("ttlSecondsAfterFinished", -1)):
        answer = api.patch(path, json={"spec": {field: value}}, headers=headers)
        assert answer.status_code == 422
        assert f"spec.{field}" in answer.json()["message"]


@pytest.mark.parametrize(("ttl", "reason", "code"), [(0, "Completed", 0), (2, "DatasetInvalid", 13)])
def test_a_finished_job_is_deleted_after_its_time(
    world: World, resident: ScriptedResident, operator: OperatorProcess, ttl: int, reason: str, code: int
) -> None:
    world.apply_job("digits", ttlSecondsAfterFinished=ttl)
    world.apply_job("kept", priority=-1)
    world.shows_pod("digits-1")
    world.end_pod("digits-1", reason, code)
    eventually(lambda: not world.has_job("digits"), "the job to be deleted")
    eventually(lambda: "digits-1" not in world.pod_names(), "its pod to be deleted")
    world.shows_pod("kept-1")
    world.end_pod("kept-1")
    world.reaches("kept", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_suspend_and_resume_have_events(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    world.apply_job("digits", backoffLimit=0)
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    world.reaches("digits", "Training")
    world.patch_job("digits", suspend=True)
    condition = eventually(lambda: world.waits_for("digits", "Suspended"), "the condition's reason Suspended")
    assert "digits-1 stops: suspended on request" in condition["message"]
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Suspended")
    assert world.condition("digits", "Suspended")["status"] == "True"
    assert world.condition("digits", "Reconciling") == {}
    assert world.attempts("digits")[0]["reason"] == "Suspended"
    world.patch_job("digits", suspend=False)
    world.shows_pod("digits-2")
    resumed = world.condition("digits", "Suspended")
    assert (resumed["status"], resumed["reason"]) == ("False", "Resumed")
    world.end_pod("digits-2")
    world.reaches("digits", "Succeeded")
    eventually(lambda: "Completed" in world.events("digits"), "the Event Completed")
    story = [reason for reason in world.events("digits") if reason in {"Suspended", "Resumed", "Completed"}]
    assert story == ["Suspended", "Resumed", "Completed"]


@pytest.mark.parametrize("moment", ["Queued", "Suspended", "Acquiring", "Training", "Releasing", "Succeeded"])
@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deletion_at_any_moment(
    world: World, resident: ScriptedResident, operator: OperatorProcess, moment: str, policy: str
) -> None:
    _bring_to(world, resident, moment)
    world.delete_job("digits", policy=policy)
    eventually(lambda: not world.has_job("digits"), "the job to be gone")
    resident.trainer_mib = resident.faults.leak_mib = 0
    eventually(lambda: not any(name.startswith("digits") for name in world.pod_names()), "its pods to be gone")
    if moment == "Queued":
        world.end_pod("other-1")
    eventually(world.no_reload_pending, "the Lease to be settled")
    eventually(lambda: resident.loaded, "the resident to be loaded")


def _bring_to(world: World, resident: ScriptedResident, moment: str) -> None:
    if moment == "Queued":
        world.apply_job("other")
        world.shows_pod("other-1")
    if moment == "Acquiring":
        resident.faults.leak_mib = 5000
    world.apply_job("digits", suspend=moment == "Suspended")
    if moment in {"Training", "Releasing", "Succeeded"}:
        world.shows_pod("digits-1")
        world.run_pod("digits-1")
    if moment == "Releasing":
        resident.trainer_mib = 10_240  # memory that does not come back at once
    if moment in {"Releasing", "Succeeded"}:
        world.end_pod("digits-1")
    world.reaches("digits", moment)
