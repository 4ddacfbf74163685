"""Images without labels: a resident labels them while the job is prepared; what means nothing is refused."""

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

Start = Callable[..., OperatorProcess]
WORD = {"seconds": 41.23, "bytes": 812_345_678_901, "images": {"train": 3200, "val": 400}}


@pytest.mark.parametrize("preparations", ["2", "0"])
def test_a_resident_labels_images_before_the_turn(
    world: World, resident: ScriptedResident, start_operator: Start, preparations: str
) -> None:
    start_operator(preparations=preparations)
    prompts: list[dict[str, Any]] = [
        {"text": "deep scratch", "class": "scratch", "threshold": 0.4},
        {"text": "dent", "class": "dent"},
    ]
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    world.apply_job("digits", dataset={**claim, "path": "photos", "label": {"prompts": prompts}})
    world.shows_pod("digits-1-prepare")
    doing = "pod digits-1-prepare has SAM3 label the images, and checks them; the resident stays loaded"
    events = world.api.get(f"/api/v1/namespaces/{world.namespace}/events").json()["items"]
    assert doing in [event["message"] for event in events]
    pod = world.training_pods()[0]
    assert "activeDeadlineSeconds" not in pod["spec"]
    file = json.loads(pod["metadata"]["annotations"][words.ANNOTATION_JOB_FILE])
    assert file["labelServer"] == f"http://{resident.ip}:8000"
    assert file["dataset"]["label"] == {
        "prompts": [prompts[0], {**prompts[1], "threshold": 0.5}],
        "split": {"val": 0.2, "test": 0.0},
        "secondPass": True,
        "minObjects": 1,
    }
    assert (resident.called("unload"), world.leases()) == ([], {})
    world.end_pod("digits-1-prepare", message="prepared in 41.2 s", prepared=WORD)
    world.shows_pod("digits-1")
    attempt = json.loads(world.pod("digits-1")["metadata"]["annotations"][words.ANNOTATION_JOB_FILE])
    assert attempt["dataset"] == file["dataset"]
    assert "labelServer" not in attempt


def test_images_wait_for_a_resident_that_labels(world: World, start_operator: Start) -> None:
    start_operator(preparations="2")
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    label = {"prompts": [{"text": "dent", "class": "dent"}]}
    world.apply_job("digits", dataset={**claim, "label": label})
    condition = eventually(lambda: world.waits_for("digits", "ResidentUnreachable"), "the reason")
    assert condition["message"] == "no resident has reported its GPU, and one with SAM3 must label the images"
    assert world.training_pods() == []


LABELLED: dict[str, Any] = {
    "persistentVolumeClaim": {"claimName": "data"},
    "label": {"prompts": [{"text": "dent", "class": "dent"}]},
}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"dataset": LABELLED, "task": "pose"}, "set task to detect, segment or obb"),
        ({"dataset": LABELLED, "mode": "Validate", "model": "best.pt"}, "dataset.label makes a data set to train on"),
        (
            {"dataset": LABELLED, "output": {"uri": "s3://results/x"}},
            "dataset.label needs output.persistentVolumeClaim",
        ),
        (
            {"dataset": {"uri": "s3://data/x.zip", "label": LABELLED["label"]}},
            "dataset.label needs dataset.persistentVolumeClaim, with the images",
        ),
        (
            {"dataset": {**LABELLED, "label": {**LABELLED["label"], "split": {"val": 0.6, "test": 0.4}}}},
            "val and test leave less than a tenth to train on",
        ),
        ({"dataset": {**LABELLED, "label": {"prompts": []}}}, "spec.dataset.label.prompts"),
        (
            {"dataset": {**LABELLED, "label": {"prompts": [{"text": "dent", "class": " dent "}]}}},
            "' dent ' is not the name of a class; write dent",
        ),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    world: World, api: httpx.Client, spec: dict[str, Any], sentence: str
) -> None:
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs?dryRun=All"
    answer = api.post(path, json=job_manifest("digits", **spec))
    assert answer.status_code == 422
    assert sentence in answer.json()["message"]
