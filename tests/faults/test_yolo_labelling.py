"""`yolo-trainer label` as a process: a folder of images and words become a data set that a job trains on."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import gpu_memory
from devcluster.programs import sam3
from devcluster.scripted.segmenter import COLOURS, Errors, ScriptedSegmenter, draw_image
from devcluster.waiting import eventually
from tests.support.labelled import boxes, draw, finished, listed
from yolo_trainer.errors import Reason
from yolo_trainer.inputs.dataset import check_dataset
from yolo_trainer.labelling.findings import overlap
from yolo_trainer.termination import EXIT_CODES

INVALID_DATA, INVALID_FILE = EXIT_CODES[Reason.DATASET_INVALID], EXIT_CODES[Reason.CONFIG_INVALID]
KILLS = 20
PROMPTS = [{"text": name, "class": name} for name in COLOURS]


@pytest.fixture
def segmenter() -> Iterator[ScriptedSegmenter]:
    segmenter = ScriptedSegmenter()
    yield segmenter
    segmenter.close()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, photos: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(server: str, **fields: Any) -> "subprocess.Popen[str]":
        file = tmp_path / "label.yaml"
        content = {"images": str(photos), "output": str(tmp_path / "labelled"), "server": server, "prompts": PROMPTS}
        file.write_text(yaml.safe_dump(content | fields))
        command = [sys.executable, "-m", "yolo_trainer", "label", str(file)]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_the_labels_are_the_truth(photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start) -> None:
    truth = draw(photos)
    log = finished(start(segmenter.url))
    labelled = tmp_path / "labelled"
    written = boxes(labelled)
    assert set(written) == set(truth)
    names = yaml.safe_load((labelled / "data.yaml").read_text())["names"]
    for image, objects in truth.items():
        assert len(written[image]) == len(objects)
        for name, (x1, y1, x2, y2) in objects:
            near = [
                number
                for number, box in written[image]
                if overlap((x1, y1, x2, y2), (box[0] * 160, box[1] * 160, box[2] * 160, box[3] * 160)) > 0.8
            ]
            assert [names[number] for number in near] == [name]
    assert "Labelled: 32 train, 8 val images (0 had labels)" in log
    report = json.loads((labelled / "labelling.json").read_text())
    assert sum(report["objects"].values()) == sum(map(len, truth.values()))
    assert report["doubtful"] == 0
    assert all(image.stat().st_nlink == 2 for image in labelled.glob("images/*/*")), "they take no room"
    dataset = check_dataset(labelled, "detect")
    assert (dataset.images, dataset.classes) == ({"train": 32, "val": 8}, 2)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_outlines_become_labels_of_the_task(
    task: Any, photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 8)
    finished(start(segmenter.url, task=task, secondPass=False))
    assert check_dataset(tmp_path / "labelled", task).images == {"train": 6, "val": 2}
    columns = {len(line.split()) for file in (tmp_path / "labelled").glob("labels/*/*") for line in file.open()}
    assert columns == {9} if task == "obb" else min(columns) > 9


def test_the_review_list_begins_with_wrong_labels(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    truth = draw(photos, 150)
    segmenter.errors = Errors(missed=0.05, shifted=0.05, renamed=0.05)
    finished(start(segmenter.url))
    wrong = [_is_wrong(row, truth[row["image"]]) for row in listed(tmp_path)]
    first = wrong[: len(wrong) // 5]
    assert sum(wrong) > 30
    assert sum(first) >= 0.6 * sum(wrong)
    sheets = sorted((tmp_path / "labelled" / "sheets").iterdir())
    assert len(sheets) == 10
    with Image.open(sheets[0]) as sheet:
        assert sheet.width == 1280


def _is_wrong(row: dict[str, str], objects: list[tuple[str, list[float]]]) -> bool:
    """True for a label of nothing, and for an object without a label."""
    box = tuple(float(row[name]) for name in ("x1", "y1", "x2", "y2"))
    there = any(name == row["class"] and overlap(tuple(own), box) > 0.7 for name, own in objects)  # type: ignore[arg-type]  # four figures
    return there == (row["labelled"] == "no")


def test_no_image_is_lost_or_labelled_twice_by_kills(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    truth, rng, gate = draw(photos, 200), random.Random(1), threading.Semaphore(0)
    segmenter.before_answer = gate.acquire
    for _ in range(KILLS):
        process, answers = start(segmenter.url, parallel=2, secondPass=False), rng.randint(1, 8)
        _kill_after(process, segmenter, gate, answers)
    gate.release(1000)
    finished(start(segmenter.url, parallel=2, secondPass=False))
    written = boxes(tmp_path / "labelled")
    assert {image: len(found) for image, found in written.items()} == {i: len(found) for i, found in truth.items()}
    again = sum(count - 1 for count in segmenter.asked.values())
    assert again <= 2 * KILLS  # only what was under way at a kill


def _kill_after(
    process: "subprocess.Popen[str]", segmenter: ScriptedSegmenter, gate: threading.Semaphore, answers: int
) -> None:
    """Let the server give so many answers, and kill the labelling."""
    wanted = segmenter.asked.total() + answers
    gate.release(answers)
    eventually(lambda: segmenter.asked.total() >= wanted, "answers", every=0.01)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_lower_score_in_the_second_pass_confirms(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 20)
    finished(start(segmenter.url, prompts=[{**prompt, "threshold": 0.75} for prompt in PROMPTS]))
    doubts = {row["labelled"]: row["doubts"] for row in listed(tmp_path)}
    assert doubts == {"yes": "", "no": "only the second pass found it"}


def test_an_unreadable_image_ends_all_waits(photos: Path, start: Start) -> None:
    class Refusing(ScriptedSegmenter):
        def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
            self.asked["all"] += 1
            if self.asked["all"] != 3:  # all other images wait
                return 503, {"detail": "later"}, {"Retry-After": "50"}
            return 415, {"detail": "not an image"}, {}

    draw(photos, 6)
    segmenter = Refusing()
    try:
        log = finished(start(segmenter.url, parallel=3, secondPass=False), INVALID_DATA)
    finally:
        segmenter.close()
    assert "SAM3 cannot read" in log


def test_it_waits_while_a_training_job_has_the_gpu(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 4)
    segmenter.held = True
    process = start(segmenter.url)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert "the labelling waits: the GPU is used by vision/digits" in said
    segmenter.held = False
    finished(process)
    assert json.loads((tmp_path / "labelled" / "labelling.json").read_text())["waitedSeconds"] >= 1


def test_labels_that_exist_are_kept(photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start) -> None:
    draw(photos, 10)
    (photos / "3.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    log = finished(start(segmenter.url))
    assert "(1 had labels)" in log
    assert boxes(tmp_path / "labelled")["3.png"] == [(1, [0.375, 0.375, 0.625, 0.625])]
    assert "3.png" not in {row["image"] for row in listed(tmp_path)}
    assert len(segmenter.asked) == 2 * 9


def test_a_changed_image_or_prompt_is_asked_for_again(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 6)
    finished(start(segmenter.url, secondPass=False))
    objects = draw_image(photos / "2.png", random.Random(99), objects=5)
    finished(start(segmenter.url, secondPass=False))
    assert len(boxes(tmp_path / "labelled")["2.png"]) == len(objects) == 5
    assert segmenter.asked.total() == 7
    finished(start(segmenter.url, secondPass=False, prompts=[PROMPTS[0]]))
    assert segmenter.asked.total() == 7 + 6
    assert {number for found in boxes(tmp_path / "labelled").values() for number, _ in found} == {0}


def test_images_that_look_alike_are_on_one_side(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 10)
    for number in range(10):
        with Image.open(photos / f"{number}.png") as image:
            image.save(photos / f"{number}-again.jpg", quality=90)
    finished(start(segmenter.url, split={"val": 0.3}, secondPass=False))
    sides = {file.stem: file.parent.name for file in (tmp_path / "labelled" / "labels").glob("*/*.txt")}
    assert sides.keys() == {f"{number}{end}" for number in range(10) for end in ("", "-again")}
    assert all(sides[str(number)] == sides[f"{number}-again"] for number in range(10))
    assert list(sides.values()).count("val") == 6


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        (
            {"prompts": [*PROMPTS, {"text": "rust", "class": "rust", "threshold": 0.4}]},
            INVALID_DATA,
            "class rust has 0 objects",
        ),
        ({"minObjects": 500}, INVALID_DATA, "minObjects is 500: lower its threshold (0.5)"),
        ({"tokenFile": "/nowhere"}, INVALID_FILE, "tokenFile /nowhere cannot be read"),
        ({"promts": []}, INVALID_FILE, "promts is unknown, did you mean 'prompts'?"),
        ({"prompts": [{"text": "scratch"}]}, INVALID_FILE, "prompts.0.class is missing"),
        ({"split": {"val": 0.6, "test": 0.5}}, INVALID_FILE, "leave less than a tenth"),
        ({"task": "pose"}, INVALID_FILE, "task: Input should be 'detect', 'segment' or 'obb'"),
        ({"server": "sam3:8000"}, INVALID_FILE, "server: give a URL, such as http://sam3.gpu-relay:8000"),
    ],
)
def test_what_is_wrong_is_said(
    fields: dict[str, Any], code: int, said: str, photos: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 4)
    assert said in finished(start(**{"server": segmenter.url, "secondPass": False} | fields), code)


def test_a_closed_server_needs_the_token(
    photos: Path, tmp_path: Path, segmenter: ScriptedSegmenter, start: Start
) -> None:
    draw(photos, 4)
    segmenter.token = "let-me-label"
    assert "set tokenFile" in finished(start(segmenter.url), INVALID_FILE)
    (tmp_path / "token").write_text("let-me-label\n")
    finished(start(segmenter.url, tokenFile=str(tmp_path / "token")))


def test_an_output_inside_the_images_is_refused(photos: Path, segmenter: ScriptedSegmenter, start: Start) -> None:
    draw(photos, 4)
    assert "output must be a folder of its own" in finished(
        start(segmenter.url, output=str(photos / "out")), INVALID_FILE
    )


def test_an_unreadable_image_is_named(photos: Path, segmenter: ScriptedSegmenter, start: Start) -> None:
    draw(photos, 4)
    (photos / "broken.jpg").write_bytes(b"no image")
    assert "broken.jpg: not an image" in finished(start(segmenter.url), INVALID_DATA)
    assert not segmenter.asked


def test_a_real_sam3_server_labels(photos: Path, tmp_path: Path, start: Start) -> None:
    """The tiny model finds something or other: what counts is that its answers become labels."""
    draw(photos, 4)
    (tmp_path / "gpu").mkdir()
    (tmp_path / "control").write_text(sam3.TOKEN)
    server = sam3.Server(gpu_memory.create_ledger(tmp_path / "gpu"), sam3.tiny_model(), tmp_path / "control")
    prompts = [{"text": "disc", "class": "disc", "threshold": 0.01}]
    try:
        finished(start(server.url, task="segment", prompts=prompts))
    finally:
        server.end()
    assert check_dataset(tmp_path / "labelled", "segment").classes == 1
    assert json.loads((tmp_path / "labelled" / "labelling.json").read_text())["objects"]["disc"] > 0
