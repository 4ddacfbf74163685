"""A job with `dataset.label`: the preparation labels the images, and the attempt trains on the result."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.programs.trainer import Attempt
from devcluster.scripted.segmenter import COLOURS, ScriptedSegmenter, draw_image
from yolo_trainer.errors import Reason
from yolo_trainer.termination import EXIT_CODES


@pytest.fixture
def segmenter() -> Iterator[ScriptedSegmenter]:
    segmenter = ScriptedSegmenter()
    yield segmenter
    segmenter.close()


def _ended(folder: Path, command: str, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    attempt = Attempt(folder, job, command=command, TMPDIR=str(folder))
    code = attempt.process.wait(120)
    return code, json.loads(attempt.word_file.read_text())


def test_a_preparation_labels_and_an_attempt_does_not(tmp_path: Path, segmenter: ScriptedSegmenter) -> None:
    photos, rng = tmp_path / "photos", random.Random(7)
    photos.mkdir()
    for number in range(10):
        draw_image(photos / f"{number}.png", rng)
    before = {file.name: file.stat().st_mtime_ns for file in photos.iterdir()}
    prompts = [{"text": name, "class": name} for name in COLOURS]
    job = {
        "job": {"namespace": "vision", "name": "words", "uid": "uid-1"},
        "model": "yolo26n.yaml",
        "dataset": {
            "path": str(photos),
            "label": {"prompts": prompts, "secondPass": False},
        },
        "training": {"epochs": 1, "imageSize": 64, "seed": 5, "args": {"workers": 0, "plots": False, "cache": "disk"}},
        "output": {"path": str(tmp_path / "output")},
    }
    code, said = _ended(tmp_path / "alone", "prepare", job)
    assert (code, said["reason"]) == (EXIT_CODES[Reason.CONFIG_INVALID], "ConfigInvalid")
    assert "labelServer is missing" in said["message"]
    code, said = _ended(tmp_path / "first", "prepare", {**job, "labelServer": segmenter.url})
    assert (code, said["prepared"]["images"]) == (0, {"train": 8, "val": 2})
    assert segmenter.asked.total() == 10
    (tmp_path / "output" / "prepared.json").unlink()  # as with another version of the trainer
    code, _ = _ended(tmp_path / "second", "run", job)
    assert code == 0
    assert segmenter.asked.total() == 10
    assert {file.name: file.stat().st_mtime_ns for file in photos.iterdir()} == before
    labelled = tmp_path / "output" / "labelled"
    assert len(list(labelled.glob("images/*/*.png"))) == len(list(labelled.glob("labels/*/*.txt"))) == 10
    assert len(list(labelled.glob("images/*/*.npy"))) == 10, "the copies in the output may have a cache beside them"
    asked = json.loads((labelled / "labelling.json").read_text())["request"]
    assert (asked["seed"], asked["copyImages"]) == (5, False)
    assert (tmp_path / "output" / "weights" / "best.pt").is_file()
