"""A job that waits for a review of its labels holds nothing; an approval prepares it to its end."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from gpu_relay.api import words
from tests.support.plugin import Plugin

Start = Callable[..., OperatorProcess]
PREPARED = {"seconds": 41.23, "bytes": 0, "images": {"train": 32, "val": 8}}
LABEL: dict[str, Any] = {"prompts": [{"text": "dent", "class": "dent"}], "review": "Required"}


def images(**label: Any) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": "data"}, "path": "photos", "label": {**LABEL, **label}}


def label_of(world: World, pod: str) -> dict[str, Any]:
    file = json.loads(world.pod(pod)["metadata"]["annotations"][words.ANNOTATION_JOB_FILE])
    section: dict[str, Any] = file["dataset"]["label"]
    return section


def test_a_job_waits_for_its_review_and_holds_nothing(
    world: World, resident: ScriptedResident, start_operator: Start, relay: Plugin
) -> None:
    operator, here = start_operator(preparations="1"), ("-n", world.namespace)
    world.apply_job("digits", dataset=images())
    world.shows_pod("digits-1-prepare")
    early = relay("approve", "digits", *here)
    assert early.code == 1
    assert "has no labels to approve yet" in early.err
    assert label_of(world, "digits-1-prepare")["approved"] is False
    world.end_pod("digits-1-prepare", prepared=PREPARED, review={"labels": 904, "doubtful": 86})
    condition = eventually(lambda: world.waits_for("digits", "WaitingForReview"), "the reason")
    assert condition["message"].startswith("904 labels, 86 to review: see review.csv and sheets/ in folder digits/lab")
    assert world.event_message("digits", "WaitingForReview") == f"Normal: {condition['message']}"
    assert world.job("digits")["status"]["phase"] == "Preparing"
    world.apply_job("other")
    world.shows_pod("other-1-prepare")  # the only slot of the namespace is free
    world.patch_job("digits", suspend=True)
    world.reaches("digits", "Suspended")
    operator.kill()
    start_operator(preparations="1")
    world.patch_job("digits", suspend=False)
    eventually(lambda: world.waits_for("digits", "WaitingForReview"), "the reason after a pause")
    assert world.leases() == {}
    world.end_pod("other-1-prepare", "DatasetInvalid", 4)
    world.reaches("other", "Failed")
    done = relay("approve", "digits", *here)
    assert done.out.startswith("yolotrainingjob.gpurelay.dev/digits approved"), done.err
    assert "is approved already" in relay("approve", "digits", *here).out
    world.shows_pod("digits-2-prepare")
    assert label_of(world, "digits-2-prepare")["approved"] is True
    world.end_pod("digits-2-prepare", prepared=PREPARED)
    world.shows_pod("digits-1")
    assert label_of(world, "digits-1") == label_of(world, "digits-2-prepare"), "the record of the preparation is valid"
    over = relay("approve", "other", *here)
    assert (over.code, "has no labels to approve: it has no dataset.label" in over.err) == (1, True)


def test_an_approval_in_advance_needs_no_wait(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    start_operator(preparations="1")
    world.apply_job("digits", dataset=images())
    world.shows_pod("digits-1-prepare")
    world.patch_job("digits", dataset=images(approved=True))
    world.end_pod("digits-1-prepare", prepared=PREPARED, review={"labels": 904, "doubtful": 86})
    world.shows_pod("digits-2-prepare")  # people may have corrected labels that the first pod has not seen
    world.end_pod("digits-2-prepare", prepared=PREPARED)
    world.shows_pod("digits-1")
    assert "WaitingForReview" not in world.events("digits")


@pytest.mark.parametrize(
    "change",
    [{"review": "Optional"}, {"minObjects": 2}, {"secondPass": False}, {"split": {"val": 0.5}}, {"prompts": []}],
)
def test_only_the_approval_may_be_changed(world: World, api: httpx.Client, change: dict[str, Any]) -> None:
    world.apply_job("digits", dataset=images())
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs/digits"
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = api.patch(path, content=json.dumps({"spec": {"dataset": {"label": change}}}), headers=headers)
    assert answer.status_code == 422
    content = json.dumps({"spec": {"dataset": {"label": {"approved": True}}}})
    assert api.patch(path, content=content, headers=headers).status_code == 200
    other = json.dumps({"spec": {"dataset": {"path": "other"}}})
    answer = api.patch(path, content=other, headers=headers)
    assert "dataset cannot be changed: create a new job instead" in answer.json()["message"]


def test_an_approval_without_a_review_is_refused(world: World, api: httpx.Client) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs?dryRun=All"
    answer = api.post(path, json=job_manifest("digits", dataset=images(review="Optional", approved=True)))
    assert answer.status_code == 422
    assert "approved means nothing without a review: set review to Required" in answer.json()["message"]
