"""A job that waits for a review of its labels: what people correct is what it trains on, whatever is killed."""

import contextlib
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.programs.trainer import Attempt
from devcluster.scripted.segmenter import COLOURS, ScriptedSegmenter, draw_image
from yolo_trainer.errors import Reason
from yolo_trainer.termination import EXIT_CODES

KILLS = 6
BOX = "0 0.500000 0.500000 0.200000 0.200000\n"


@pytest.fixture
def segmenter() -> Iterator[ScriptedSegmenter]:
    segmenter = ScriptedSegmenter()
    yield segmenter
    segmenter.close()


class Labelled:
    """A job whose labels are made, and wait for a review."""

    def __init__(self, place: Path, segmenter: ScriptedSegmenter) -> None:
        self._place, self._server = place, segmenter.url
        self.folder = place / "output" / "labelled"
        photos, rng = place / "photos", random.Random(7)
        photos.mkdir()
        for number in range(10):
            draw_image(photos / f"{number}.png", rng)
        label = {"prompts": [{"text": name, "class": name} for name in COLOURS], "secondPass": False}
        self.job: dict[str, Any] = {
            "job": {"namespace": "vision", "name": "words", "uid": "uid-1"},
            "model": "yolo26n.yaml",
            "dataset": {"path": str(photos), "label": {**label, "review": "Required", "approved": False}},
            "training": {"epochs": 1, "imageSize": 64, "args": {"workers": 0, "plots": False}},
            "output": {"path": str(place / "output")},
        }
        code, said = self.prepare()
        assert (code, said["reason"]) == (0, "Completed"), said
        self.review: dict[str, int] = said["review"]
        self.job["dataset"]["label"]["approved"] = True

    def start(self, command: str = "prepare") -> Attempt:
        server = {"labelServer": self._server} if command == "prepare" else {}
        return Attempt(self._place / command, {**self.job, **server}, command=command, TMPDIR=str(self._place))

    def prepare(self, command: str = "prepare") -> tuple[int, dict[str, Any]]:
        attempt = self.start(command)
        return attempt.process.wait(120), json.loads(attempt.word_file.read_text())

    def correct(self) -> tuple[Path, Path]:
        """Correct one label file by hand, and another image by an exported file; return both label files."""
        by_hand, by_tool = sorted(self.folder.glob("labels/train/*.txt"))[:2]
        by_hand.write_text(BOX)
        (self.folder / "corrected").mkdir()
        document = {
            "images": [{"id": 5, "file_name": f"{by_tool.stem}.png", "width": 160, "height": 160}],
            "annotations": [{"id": 9, "image_id": 5, "category_id": 2, "bbox": [64, 64, 32, 32]}],
            "categories": [{"id": 1, "name": "dent"}, {"id": 2, "name": "scratch"}],
        }
        (self.folder / "corrected" / "task.json").write_text(json.dumps(document))
        return by_hand, by_tool


def test_a_job_trains_on_the_corrected_labels(tmp_path: Path, segmenter: ScriptedSegmenter) -> None:
    labelled = Labelled(tmp_path, segmenter)
    assert labelled.review == {"labels": 30, "doubtful": 0}
    corrected = labelled.correct()
    code, said = labelled.prepare()
    assert (code, said.get("review")) == (0, None), said
    assert [file.read_text() for file in corrected] == [BOX, BOX]
    assert segmenter.asked.total() == 10, "SAM3 is not asked again"
    changes = json.loads((labelled.folder / "labelling.json").read_text())["corrections"]
    assert changes["images"] == {"changed": 2, "added": 0, "removed": 0}
    code, said = labelled.prepare("run")
    assert (code, said["reason"]) == (0, "Completed"), said
    assert [file.read_text() for file in corrected] == [BOX, BOX]


def test_killed_pods_lose_no_correction(tmp_path: Path, segmenter: ScriptedSegmenter) -> None:
    labelled = Labelled(tmp_path, segmenter)
    corrected, rng = labelled.correct(), random.Random(3)
    for _ in range(KILLS):
        attempt = labelled.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            attempt.process.wait(rng.uniform(0.5, 6))
        attempt.process.kill()
        attempt.process.wait()
        assert corrected[0].read_text() == BOX
    code, said = labelled.prepare()
    assert (code, said["reason"]) == (0, "Completed"), said
    assert [file.read_text() for file in corrected] == [BOX, BOX]
    assert segmenter.asked.total() == 10


def test_a_new_job_takes_the_labels_that_another_refused(tmp_path: Path, segmenter: ScriptedSegmenter) -> None:
    labelled = Labelled(tmp_path, segmenter)
    file = sorted(labelled.folder.glob("labels/train/*.txt"))[0]
    file.write_text("7 0.5 0.5 0.2 0.2\n")
    code, said = labelled.prepare()
    assert code == EXIT_CODES[Reason.DATASET_INVALID]
    assert f"labels/train/{file.name}: line 1: class 7 is not in names" in said["message"]
    file.write_text(BOX)
    labelled.job["job"]["uid"] = "uid-2"
    code, said = labelled.prepare()
    assert (code, said["reason"]) == (0, "Completed"), said
    assert file.read_text() == BOX
    assert segmenter.asked.total() == 10
