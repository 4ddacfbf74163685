"""Images as phones leave them, on a PVC that pods mount read-only: every one is trained on, and no file changes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from demo.recipe import QUICK
from demo.relay import NAMESPACE, Relay
from devcluster.waiting import eventually

NAME = "phone"
LONG = 30
"""Epochs that last longer than it takes to read the trainer's log."""
TRAILER = b"\0\0SEFH" + bytes(300) + b"SEFT"
"""What a phone writes behind the end of a JPEG."""


@pytest.fixture
def photographs(relay: Relay) -> Path:
    folder = relay.volumes.data / NAME
    QUICK.make_images(folder)
    for image in (folder / "images").glob("*/*.png"):
        photograph = image.with_suffix(".jpg")
        Image.open(image).save(photograph, quality=95)
        photograph.write_bytes(photograph.read_bytes() + TRAILER)
        image.unlink()
    return folder


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def log_of(relay: Relay) -> str:
    return relay.kubectl("-n", NAMESPACE, "logs", "-l", f"gpurelay.dev/job={NAME},gpurelay.dev/attempt", "--tail=-1")


def test_photographs_are_all_trained_on_and_left_as_they_are(relay: Relay, photographs: Path) -> None:
    before = state_of(photographs)
    claim = {"persistentVolumeClaim": {"claimName": "data"}}
    relay.apply(NAME, epochs=LONG, dataset={**claim, "path": NAME})
    relay.trains(NAME)
    said = eventually(lambda: log_of(relay).partition("Training ")[2].partition("\n")[0], "the start", within=90)
    assert f": {QUICK.train} images, epochs 1 to {LONG}" in said
    relay.reaches(NAME, "Succeeded", "Failed", within=300)

    assert relay.phase(NAME) == "Succeeded", relay.job(NAME)["status"]
    manifest = json.loads((relay.volumes.results / NAME / "manifest.json").read_text())
    assert manifest["dataset"]["images"] == {"train": QUICK.train, "val": QUICK.val}
    assert state_of(photographs) == before
