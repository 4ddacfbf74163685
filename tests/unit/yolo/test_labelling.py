"""The pure parts of the labelling: what is certain, which images belong together, and the labels' forms."""

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from yolo_trainer.errors import DatasetInvalidError, TrainerError
from yolo_trainer.inputs import coco as coco_reader
from yolo_trainer.inputs.labels import LabelRules, read_labels
from yolo_trainer.job.labelling import SplitShares
from yolo_trainer.labelling import checks, sam3_client, yolo_lines
from yolo_trainer.labelling.agreement import review
from yolo_trainer.labelling.coco_file import coco
from yolo_trainer.labelling.dataset_folder import unique_names, write_dataset
from yolo_trainer.labelling.findings import Box, FoundObject, ImageFindings, overlap, without_repeats
from yolo_trainer.labelling.request import LabelRequest
from yolo_trainer.labelling.splits import difference_hash, groups_of, split_images

CLASSES = ("scratch", "dent")
WIDTH, HEIGHT = 200, 100


def found(box: Box, class_id: int = 0, score: float = 0.9) -> FoundObject:
    x1, y1, x2, y2 = box
    return FoundObject(class_id, score, box, ((x1, y1, x2, y1, x2, y2, x1, y2),))


def image(*objects: FoundObject, second: tuple[FoundObject, ...] | None = None, name: str = "a.jpg") -> ImageFindings:
    return ImageFindings(name, WIDTH, HEIGHT, objects, second)


HERE, THERE = (20.0, 20.0, 60.0, 60.0), (120.0, 30.0, 160.0, 70.0)


def test_what_both_passes_found_is_certain() -> None:
    (label,) = review([image(found(HERE), second=(found(HERE),))], CLASSES)
    assert label.doubts == ()
    assert label.certainty == pytest.approx(0.3 + 0.7 * 0.9)


@pytest.mark.parametrize(
    ("second", "doubt"),
    [
        ((), "the second pass did not find it"),
        ((found(HERE, 1),), "the second pass found dent here"),
        ((found((35.0, 20.0, 75.0, 60.0)),), "the second pass found it in another place"),
    ],
)
def test_what_one_pass_found_is_doubtful(second: tuple[FoundObject, ...], doubt: str) -> None:
    (label,) = review([image(found(HERE), second=second)], CLASSES)
    assert label.doubts == (doubt,)
    assert label.certainty < 0.3
    assert not label.missing


def test_what_only_the_second_pass_found_lacks_a_label() -> None:
    missing, label = review([image(found(HERE), second=(found(HERE), found(THERE)))], CLASSES)
    assert (missing.missing, missing.found.box) == (True, THERE)
    assert not label.missing


def test_an_object_confirms_one_label_only() -> None:
    twice = image(found(HERE), found((22.0, 20.0, 62.0, 60.0)), second=(found(HERE),))
    assert [bool(label.doubts) for label in review([twice], CLASSES)] == [True, False]


@pytest.mark.parametrize(
    ("box", "doubt"),
    [((0.0, 0.0, 200.0, 100.0), "as large as the image"), ((10.0, 10.0, 13.0, 50.0), "narrower than 4 pixels")],
)
def test_implausible_sizes_are_doubtful(box: Box, doubt: str) -> None:
    (label,) = review([image(found(box))], CLASSES)
    assert (label.doubts, label.certainty) == ((doubt,), 0.45)


def test_an_unusual_size_is_doubtful() -> None:
    usual = [image(found(HERE), name=f"{number}.jpg") for number in range(30)]
    (first, *rest) = review([*usual, image(found((0.0, 0.0, 199.0, 90.0)), name="large.jpg")], CLASSES)
    assert (first.image, first.doubts) == ("large.jpg", ("much larger than usual",))
    assert not any(label.doubts for label in rest)


def test_one_place_with_two_classes_is_doubtful() -> None:
    labels = review([image(found(HERE), found(HERE, 1))], CLASSES)
    assert {label.doubts for label in labels} == {("also labelled dent",), ("also labelled scratch",)}


def test_prompts_of_one_class_find_an_object_once() -> None:
    near = (21.0, 20.0, 60.0, 60.0)
    assert without_repeats([found(HERE, score=0.5), found(near, score=0.8), found(HERE, 1)]) == (
        found(HERE, 1),
        found(near, score=0.8),
    )


def test_a_mirrored_object_is_where_it_was() -> None:
    one = found(HERE)
    assert one.mirrored(WIDTH).box == (140.0, 20.0, 180.0, 60.0)
    assert one.mirrored(WIDTH).mirrored(WIDTH) == one


def test_findings_survive_json() -> None:
    one = image(found(HERE), second=(found(THERE, 1),))
    assert ImageFindings.read(json.loads(json.dumps(one.written()))) == one


hashes = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 2**64 - 1), min_size=1, max_size=12)


@given(hashes)
def test_alike_images_are_in_one_group(values: dict[str, int]) -> None:
    groups = groups_of(values)
    assert sorted(name for group in groups for name in group) == sorted(values)
    place = {name: number for number, group in enumerate(groups) for name in group}
    for one, other in ((one, other) for one in values for other in values):
        if (values[one] ^ values[other]).bit_count() <= 6:
            assert place[one] == place[other]


@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.floats(0.05, 0.6), st.integers(0, 99))
def test_a_split_keeps_groups_together(sizes: list[int], share: float, seed: int) -> None:
    groups = [[f"{number}-{member}" for member in range(size)] for number, size in enumerate(sizes)]
    splits = split_images(groups, SplitShares(val=share), seed)
    assert sorted(name for names in splits.values() for name in names) == sorted(n for group in groups for n in group)
    for group in groups:
        assert sum(set(group) <= set(names) for names in splits.values()) == 1
    assert splits["val"]
    assert splits == split_images(groups, SplitShares(val=share), seed)


def test_an_image_and_its_smaller_copy_look_alike(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(values).resize((640, 480), Image.Resampling.BICUBIC)
    image.save(tmp_path / "one.png")
    image.resize((200, 150)).save(tmp_path / "two.jpg", quality=80)
    Image.fromarray(values[::-1].copy()).resize((640, 480)).save(tmp_path / "three.png")
    one, two, three = (difference_hash(tmp_path / name) for name in ("one.png", "two.jpg", "three.png"))
    assert (one ^ two).bit_count() <= 6 < (one ^ three).bit_count()


def test_no_two_images_have_one_label_file() -> None:
    images = ["a.jpg", "a.png", "b/a.jpg", "b__a.jpg", "b__a.png", "a__png.jpg"]
    names = unique_names(images)
    assert sorted(names) == sorted(images)
    assert len({Path(name).stem for name in names.values()}) == len(images)
    assert all(Path(name).suffix == Path(image).suffix for image, name in names.items())


@pytest.mark.parametrize("copy", [True, False])
def test_without_hard_links_an_image_is_copied_or_linked_to(
    copy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a" / "a.jpg")
    write_dataset(request(tmp_path, copyImages=copy), {"train": [image(found(HERE))]})
    written = tmp_path / "b" / "images" / "train" / "a.jpg"
    assert written.is_symlink() is not copy
    assert written.read_bytes() == (tmp_path / "a" / "a.jpg").read_bytes()


def _random_object(rng: random.Random) -> FoundObject:
    parts = []
    for corner in range(rng.randint(1, 2)):
        x, y = rng.uniform(5, 60) + 90 * corner, rng.uniform(5, 50)
        parts.append((x, y, x + rng.uniform(5, 30), y, x + rng.uniform(5, 30), y + rng.uniform(5, 40)))
    xs, ys = [v for part in parts for v in part[::2]], [v for part in parts for v in part[1::2]]
    return FoundObject(rng.randint(0, 1), 0.9, (min(xs), min(ys), max(xs), max(ys)), tuple(parts))


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_lines_are_those_of_ultralytics_own_converter(task: Any, tmp_path: Path) -> None:
    rng = random.Random(3)
    findings = [image(*[_random_object(rng) for _ in range(4)], name=f"{number}.png") for number in range(6)]
    for split in ("train", "val"):
        for each in findings:
            Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / each.image)
        document = coco(findings, [each.image for each in findings], CLASSES)
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(document))
    files = coco_reader.find_annotations(tmp_path, task)
    assert files is not None
    converted = coco_reader.convert(files, tmp_path, task, tmp_path / "work").parent
    for each in findings:
        theirs = (converted / "labels" / "val" / each.image).with_suffix(".txt").read_text()
        ours = yolo_lines.lines(each, task)
        assert len(ours.splitlines()) == len(theirs.splitlines()) == 4
        for one, other in zip(ours.splitlines(), theirs.splitlines(), strict=True):
            assert np.allclose(list(map(float, one.split())), list(map(float, other.split())), atol=2e-6)


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_written_lines_can_be_read(task: Any) -> None:
    one = image(*[_random_object(random.Random(seed)) for seed in range(5)])
    assert read_labels(yolo_lines.lines(one, task), LabelRules(task, 2)).problem is None


def test_a_rotated_box_is_the_smallest() -> None:
    tilted = (50.0, 20.0, 80.0, 50.0, 60.0, 70.0, 30.0, 40.0)
    line = yolo_lines.lines(image(FoundObject(1, 0.9, (30, 20, 80, 70), (tilted,))), "obb")
    corners = np.array(list(map(float, line.split()[1:]))).reshape(4, 2) * (WIDTH, HEIGHT)
    wanted = np.array(tilted).reshape(4, 2)
    assert all(np.linalg.norm(wanted - corner, axis=1).min() < 0.01 for corner in corners)


def test_labels_that_exist_are_read() -> None:
    rules = LabelRules("detect", 2)
    kept = yolo_lines.kept("a.jpg", (WIDTH, HEIGHT), "1 0.5 0.5 0.2 0.4\n", rules)
    assert isinstance(kept, ImageFindings)
    assert yolo_lines.lines(kept, "detect") == "1 0.500000 0.500000 0.200000 0.400000\n"
    assert yolo_lines.kept("a.jpg", (WIDTH, HEIGHT), "7 0.5 0.5 0.2 0.4\n", rules) == (
        "line 1: class 7 is not in names, which go from 0 to 1"
    )
    outline = yolo_lines.kept("a.jpg", (WIDTH, HEIGHT), "0 0.1 0.1 0.5 0.1 0.5 0.5\n", LabelRules("segment", 2))
    assert isinstance(outline, ImageFindings)
    assert outline.objects[0].box == pytest.approx((20, 10, 100, 50))


def test_an_area_is_that_of_the_outline() -> None:
    triangle = FoundObject(0, 0.9, (0, 0, 10, 10), ((0, 0, 10, 0, 10, 10),))
    assert coco([image(triangle)], ["a.jpg"], CLASSES)["annotations"][0]["area"] == 50


def request(tmp_path: Path, **fields: Any) -> LabelRequest:
    prompts = [{"text": "scratch", "class": "scratch", "threshold": 0.4}, {"text": "dent", "class": "dent"}]
    places = {"images": tmp_path / "a", "output": tmp_path / "b", "server": "http://sam3:8000"}
    return LabelRequest.model_validate({**places, "prompts": prompts, **fields})


def test_a_class_with_too_few_objects_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalidError, match=r"class dent has 3 objects in 9 images.*threshold \(0.5\)"):
        checks.check_counts({"scratch": 10, "dent": 3}, 9, request(tmp_path, minObjects=10))


def test_a_split_without_a_class_is_warned_of() -> None:
    said = checks.warnings({"train": [image(), image(), image(found(HERE))], "val": [image()]}, CLASSES)
    assert said == [
        "3 of 4 images have no objects: they teach only what is background",
        "train has no objects of dent",
        "val has no objects of scratch, dent",
    ]


def test_other_prompts_make_other_records(tmp_path: Path) -> None:
    one = request(tmp_path)
    assert one.fingerprint == request(tmp_path, minObjects=5, seed=3).fingerprint
    assert one.fingerprint != request(tmp_path, secondPass=False).fingerprint
    assert one.fingerprint != request(tmp_path, prompts=[{"text": "x", "class": "dent"}]).fingerprint


def test_a_server_without_an_answer_ends_the_labelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam3_client, "_PATIENCE", 0.0)
    asked = request(tmp_path)
    client = sam3_client.Sam3Client("http://127.0.0.1:9", asked.prompts, asked.classes)
    with pytest.raises(TrainerError, match="has given no answer for 0 s"):
        client.find("a.jpg", b"")


def test_overlap_is_that_of_boxes() -> None:
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap(HERE, THERE) == 0
