"""Images without labels on a PVC: SAM3 labels them while the job is prepared, is unloaded once, and comes back."""

import json
from pathlib import Path

import pytest

from demo.recipe import QUICK
from demo.relay import NAMESPACE, Relay

NAME = "words"


@pytest.fixture
def photos(relay: Relay) -> Path:
    folder = relay.volumes.data / NAME
    QUICK.make_images(folder)
    for label in folder.glob("labels/*/*.txt"):
        label.unlink()
    (folder / "data.yaml").unlink()
    return folder


def test_words_become_a_model(relay: Relay, photos: Path) -> None:
    """The tiny SAM3 finds something or other: what counts is that its answers become labels and a model."""
    prompts = [{"text": "digit", "class": "digit", "threshold": 0.01}]
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    label = {"prompts": prompts, "secondPass": False, "split": {"val": 0.25}}
    relay.apply(NAME, epochs=1, dataset={**claim, "path": NAME, "label": label})
    relay.reaches(NAME, "Succeeded", "Failed", within=400)

    status = relay.job(NAME)["status"]
    assert relay.phase(NAME) == "Succeeded", status
    output = relay.volumes.results / NAME
    report = json.loads((output / "labelled" / "labelling.json").read_text())
    assert report["objects"]["digit"] > 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["dataset"]["images"] == report["images"] == status["preparation"]["images"]
    assert sum(report["images"].values()) == len(list(photos.glob("images/*/*")))
    assert sorted(file.name for file in photos.iterdir()) == ["images", "labels"]
    events = json.loads(relay.kubectl("-n", NAMESPACE, "get", "events", "-o", "json"))["items"]
    own = [event["reason"] for event in events if event["involvedObject"]["name"] == NAME]
    assert own.count("ResidentUnloaded") == 1
    relay.is_back()
