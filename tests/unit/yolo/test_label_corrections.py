"""Labels that people corrected: they are kept, counted and checked, also where a labelling tool exported them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.labelled_folder import HEIGHT, WIDTH, exported, labelled_request, nothing_to_import
from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.labelling import corrections, earlier
from yolo_trainer.labelling.corrections import Changes, Corrections
from yolo_trainer.labelling.label import label
from yolo_trainer.labelling.request import LabelRequest

BOTH: list[tuple[str, Sequence[float]]] = [("scratch", (20, 20, 40, 40)), ("dent", (120, 30, 40, 40))]


def take(request: LabelRequest) -> Corrections:
    return corrections.take(request, nothing_to_import)


def lines(request: LabelRequest, name: str) -> list[str]:
    return (request.output / "labels" / name).read_text().splitlines()


def all_labels(request: LabelRequest) -> dict[str, str]:
    return earlier.read_labels(request.output)


@pytest.fixture
def request_(tmp_path: Path) -> LabelRequest:
    return labelled_request(tmp_path, ["a.png", "b.png", "c.png"])


def test_untouched_labels_have_no_corrections(request_: LabelRequest) -> None:
    assert take(request_) == Corrections(Changes(), Changes())


def test_corrections_by_hand_are_counted(request_: LabelRequest) -> None:
    first, second = lines(request_, "train/a.txt")
    label_file = request_.output / "labels" / "train" / "a.txt"
    moved = second.replace(second.split()[1], "0.5", 1)
    text = f"{first}\n{moved}\n1 0.5 0.5 0.1 0.1\n"
    label_file.write_text(text)
    (request_.output / "labels" / "train" / "b.txt").write_text(f"{first}\n")
    found = take(request_)
    assert found == Corrections(Changes(1, 1, 1), Changes(changed=2))
    assert label_file.read_text() == text
    report = json.loads((request_.output / "labelling.json").read_text())
    assert report["corrections"]["labels"] == {"changed": 1, "added": 1, "removed": 1}
    assert report["objects"] == {"scratch": 3, "dent": 3}, "what SAM3 found stays"


def test_added_and_removed_images_are_counted(request_: LabelRequest) -> None:
    images, labels = request_.output / "images" / "train", request_.output / "labels" / "train"
    (images / "new.png").write_bytes((images / "a.png").read_bytes())
    (labels / "new.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (images / "b.png").unlink()
    (labels / "b.txt").unlink()
    assert take(request_) == Corrections(Changes(added=1, removed=2), Changes(added=1, removed=1))


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("train/a.txt", "0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n", "labels/train/a.txt: line 2: the task detect needs 5"),
        ("train/a.txt", "2 0.5 0.5 0.1 0.1\n", "labels/train/a.txt: line 1: class 2 is not in names"),
        ("train/x.txt", "0 0.5 0.5 0.1 0.1\n", "labels/train/x.txt has no image in images/train: rename or delete"),
    ],
)
def test_invalid_corrections_name_file_and_line(request_: LabelRequest, file: str, text: str, problem: str) -> None:
    (request_.output / "labels" / file).write_text(text)
    with pytest.raises(DatasetInvalidError, match=problem):
        take(request_)
    assert (request_.output / "labels" / file).read_text() == text


def test_a_class_without_corrected_labels_is_an_error(request_: LabelRequest) -> None:
    for file in (request_.output / "labels").glob("*/*.txt"):
        file.write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetInvalidError, match="class dent has 0 objects in the corrected labels, and minObjects"):
        take(request_)


def test_an_exported_file_replaces_the_labels_of_its_images(request_: LabelRequest) -> None:
    before = all_labels(request_)
    exported(
        request_, {"a.png": [*BOTH, ("dent", (0, 0, 20, 20))], "images/train/b.png": [("scratch", (0, 0, 10, 10))]}
    )
    found = take(request_)
    assert lines(request_, "train/a.txt") == [
        *before["train/a.txt"].splitlines(),
        "1 0.050000 0.100000 0.100000 0.200000",
    ]
    assert lines(request_, "train/b.txt") == ["0 0.025000 0.050000 0.050000 0.100000"]
    assert all_labels(request_)["val/c.txt"] == before["val/c.txt"]
    assert found == Corrections(Changes(changed=1, added=1, removed=1), Changes(changed=2))
    assert take(request_) == found, "a pod that was killed may be followed by another one"


@pytest.mark.parametrize(("task", "columns"), [("segment", 9), ("obb", 9)])
def test_exported_outlines_are_labels_of_the_task(tmp_path: Path, task: str, columns: int) -> None:
    request = labelled_request(tmp_path, task=task)
    exported(request, {"a.png": BOTH})
    take(request)
    assert [len(line.split()) for line in lines(request, "train/a.txt")] == [columns, columns]


@pytest.mark.parametrize(
    ("name", "label_file"),
    [
        ("left/a.png", "train/left__a.txt"),
        ("photos/left/a.png", "train/left__a.txt"),
        ("images/train/right__a.png", "train/right__a.txt"),
        ("right__a.png", "train/right__a.txt"),
        ("upload\\3\\0f1e2d3c-b.png", "val/b.txt"),
        ("/data/b.png", "val/b.txt"),
    ],
)
def test_images_are_found_as_tools_name_them(tmp_path: Path, name: str, label_file: str) -> None:
    request = labelled_request(tmp_path, ["left/a.png", "right/a.png", "b.png"])
    exported(request, {name: [*BOTH, ("dent", (0, 0, 20, 20))]})
    take(request)
    assert [name for name, text in all_labels(request).items() if len(text.splitlines()) == 3] == [label_file]


@pytest.mark.parametrize(
    ("images", "change", "problem"),
    [
        ({"d.png": BOTH}, {}, "corrected/task.json: d.png is no image of this job"),
        (
            {"a.png": BOTH},
            {},
            "a.png can be images/train/left__a.png or images/train/right__a.png: export it with its folder",
        ),
        (
            {"b.png": [("rust", (0, 0, 9, 9))]},
            {},
            "annotation 100 on b.png has category rust: the classes are scratch,",
        ),
        ({"b.png": BOTH}, {"width": 400}, "b.png is 400 x 100 pixels, and the image is 200 x 100"),
        ({"b.png": [("dent", (190, 0, 40, 9))]}, {}, f"reaches beyond the image of {WIDTH} x {HEIGHT} pixels"),
        ({"b.png": [("dent", (0, 0, 0, 9))]}, {}, "give x, y, width and height in pixels, larger than 0"),
        ({"b.png": BOTH}, {"iscrowd": 1}, "is a crowd"),
        ({"b.png": BOTH}, {"image_id": 99}, "annotation 100 has image_id 99, which images does not list"),
        ({"b.png": BOTH}, {"bbox": None}, "corrected/task.json is not COCO JSON"),
        ({"b.png": BOTH, "val/b.png": BOTH}, {}, "val/b.png is listed twice"),
    ],
)
def test_exports_that_do_not_fit_change_nothing(
    tmp_path: Path, images: dict[str, Any], change: dict[str, Any], problem: str
) -> None:
    request = labelled_request(tmp_path, ["left/a.png", "right/a.png", "b.png"])
    before = all_labels(request)
    exported(request, {"right__a.png": []}, "first.json")
    exported(request, images, **change)
    with pytest.raises(DatasetInvalidError, match=problem):
        take(request)
    assert all_labels(request) == before


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [([], "has no outline"), ([[1, 2, 3, 4]], "has no outline"), ({"counts": "x", "size": [1, 1]}, "has an RLE mask")],
)
def test_exports_without_outlines_do_not_fit_segmentation(tmp_path: Path, segmentation: Any, problem: str) -> None:
    request = labelled_request(tmp_path, task="segment")
    exported(request, {"a.png": BOTH}, segmentation=segmentation)
    with pytest.raises(DatasetInvalidError, match=problem):
        take(request)


def test_an_image_in_two_exports_is_an_error(request_: LabelRequest) -> None:
    exported(request_, {"a.png": BOTH}, "one.json")
    exported(request_, {"a.png": BOTH}, "two.json")
    with pytest.raises(DatasetInvalidError, match=r"corrected/one.json and corrected/two.json both have a.png"):
        take(request_)


def test_what_is_not_json_is_named(request_: LabelRequest) -> None:
    exported(request_, {"a.png": BOTH})
    (request_.output / "corrected" / "task.json").write_text("{")
    with pytest.raises(DatasetInvalidError, match=r"corrected/task\.json is not valid JSON"):
        take(request_)


def test_labels_belong_to_their_job_and_to_the_same_request(request_: LabelRequest) -> None:
    assert earlier.adopt(request_, "uid-1")
    assert earlier.adopt(request_, "uid-2"), "the same request for the same images"
    (request_.images / "a.png").write_bytes((request_.images / "b.png").read_bytes() + b" ")
    assert earlier.adopt(request_, "uid-2"), "its labels are made, whatever happens to the images"
    assert not earlier.adopt(request_, "uid-3")
    assert not earlier.adopt(request_.model_copy(update={"seed": 1}), "uid-3")


@pytest.mark.parametrize("part", ["labelling.json", "records", "data.yaml", "original-labels.json"])
def test_incomplete_labels_are_made_again(request_: LabelRequest, part: str) -> None:
    (request_.output / part).rename(request_.output.parent / part)
    assert not earlier.adopt(request_, "uid-1")


def test_another_request_does_not_replace_corrected_labels(request_: LabelRequest) -> None:
    (request_.output / "labels" / "train" / "a.txt").write_text("")
    before = all_labels(request_)
    with pytest.raises(DatasetInvalidError, match=r"name this folder in dataset\.path without dataset\.label"):
        label(request_, "uid-2")
    assert all_labels(request_) == before


def test_another_request_does_not_ignore_exports(request_: LabelRequest) -> None:
    exported(request_, {"a.png": BOTH})
    with pytest.raises(DatasetInvalidError, match="has labels that people changed"):
        label(request_, "uid-2")
