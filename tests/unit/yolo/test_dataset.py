from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs.dataset import check_dataset
from yolo_trainer.inputs.image_lists import label_name
from yolo_trainer.job.spec import Task


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A small valid data set; each test breaks one thing."""
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            image = tmp_path / "images" / split / f"{number}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32)).save(image)
            label = Path(label_name(str(image)))
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("1 0.5 0.5 0.2 0.2\n")
    describe(tmp_path)
    return tmp_path


def describe(folder: Path, **changes: Any) -> None:
    description = {"train": "images/train", "val": "images/val", "names": {0: "zero", 1: "one"}, **changes}
    description = {key: value for key, value in description.items() if value is not None}
    (folder / "data.yaml").write_text(yaml.safe_dump(description))


def refusal(path: Path, task: Task = "detect") -> str:
    with pytest.raises(DatasetInvalidError) as caught:
        check_dataset(path, task)
    return str(caught.value)


def test_a_valid_data_set_passes_by_folder_and_by_file(digits: Path) -> None:
    by_folder = check_dataset(digits, "detect")

    assert by_folder.images == {"train": 4, "val": 2}
    assert check_dataset(digits / "data.yaml", "detect") == by_folder


def test_ultralytics_gets_absolute_paths_and_no_script(digits: Path, tmp_path: Path) -> None:
    describe(digits, path=".", download="import os; os.abort()", channels=3)
    output = tmp_path / "output"
    output.mkdir()

    given = yaml.safe_load(check_dataset(digits, "detect").written_to(output).read_text())

    assert given["train"] == [str(digits / "images" / "train")]
    assert given["names"] == ["zero", "one"]
    assert given["channels"] == 3
    assert "download" not in given


def test_an_image_without_labels_contains_no_objects_and_is_valid(digits: Path) -> None:
    (digits / "labels" / "train" / "0.txt").unlink()

    assert check_dataset(digits, "detect").images["train"] == 4


def test_paths_may_be_relative_to_a_folder_below(digits: Path) -> None:
    describe(digits, train="../images/train")

    assert check_dataset(digits, "detect").images["train"] == 4


def test_a_split_may_be_a_list_of_files(digits: Path) -> None:
    (digits / "train.txt").write_text(f"./images/train/0.png\n{digits}/images/train/1.png\n")
    describe(digits, train="train.txt")

    assert check_dataset(digits, "detect").images["train"] == 2


def test_a_relative_line_in_such_a_list_is_refused(digits: Path) -> None:
    (digits / "train.txt").write_text("images/train/0.png\n")
    describe(digits, train="train.txt")

    assert "'images/train/0.png' must be an absolute path, or begin with './'" in refusal(digits)


def test_numbers_may_name_classes(digits: Path) -> None:
    describe(digits, names=[0, 1])

    assert check_dataset(digits, "detect").images["train"] == 4


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"val": None}, "val is missing: name its folder of images"),
        ({"names": None}, "names is missing"),
        ({"names": []}, "names is empty"),
        ({"names": {0: "zero", 2: "two"}}, "names must number the classes from 0 without a gap"),
        ({"nc": 3}, "nc says 3 classes, names lists 2"),
        ({"train": "images/tarin"}, "train is images/tarin, and"),
        ({"path": "elsewhere"}, "path is elsewhere, and"),
    ],
)
def test_a_wrong_description_is_refused(digits: Path, changes: dict[str, Any], problem: str) -> None:
    describe(digits, **changes)

    assert problem in refusal(digits)


@pytest.mark.parametrize(
    ("content", "problem"), [("train: [", "is not valid YAML"), ("- a list", "must hold at least train, val and names")]
)
def test_what_is_no_description_is_refused(digits: Path, content: str, problem: str) -> None:
    (digits / "data.yaml").write_text(content)

    assert problem in refusal(digits)


def test_a_missing_description_says_what_the_path_must_be(tmp_path: Path) -> None:
    assert "dataset.path must be a folder that holds data.yaml" in refusal(tmp_path)


def test_a_split_without_images_is_refused(digits: Path) -> None:
    for image in (digits / "images" / "val").iterdir():
        image.unlink()

    assert "val has no images in" in refusal(digits)


def test_no_labels_at_all_says_where_they_are_looked_for(digits: Path) -> None:
    (digits / "labels").rename(digits / "annotations")

    assert f"is looked for at {digits}/labels/train/0.txt" in refusal(digits)


def test_broken_images_are_named(digits: Path) -> None:
    (digits / "images" / "train" / "1.png").write_bytes(b"GIF? no")
    Image.new("RGB", (5, 32)).save(digits / "images" / "train" / "3.png")

    text = refusal(digits)

    assert text.startswith("2 of the images in train cannot be used")
    assert "1.png: not an image" in text
    assert "3.png: 5 x 32 pixels" in text


def test_the_first_broken_labels_are_named_and_the_rest_counted(digits: Path) -> None:
    for number in range(8):
        Image.new("RGB", (32, 32)).save(digits / "images" / "train" / f"{number}.png")
        (digits / "labels" / "train" / f"{number}.txt").write_text("7 0.5 0.5 0.2 0.2\n")

    text = refusal(digits)

    assert text.startswith("8 of the label files for train cannot be used")
    assert f"{digits}/labels/train/0.txt: line 1: class 7 is not in names" in text
    assert "5.txt" not in text
    assert text.endswith("and 3 more")


def test_a_binary_label_file_is_refused(digits: Path) -> None:
    (digits / "labels" / "val" / "0.txt").write_bytes(b"\xff\xfe\x00")

    assert "0.txt: is UTF-16: save it as UTF-8" in refusal(digits)


def test_pose_needs_the_shape_of_its_keypoints(digits: Path) -> None:
    assert "kpt_shape is missing" in refusal(digits, "pose")
    describe(digits, kpt_shape=[2, 4])
    assert "kpt_shape must be" in refusal(digits, "pose")


def test_classification_goes_by_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / "0.png")

    dataset = check_dataset(tmp_path, "classify")

    assert dataset.images == {"train": 2, "val": 2}
    assert dataset.written_to(tmp_path) == tmp_path
    (tmp_path / "train" / "dog").rename(tmp_path / "train" / "hound")
    assert "lacks: dog" in refusal(tmp_path, "classify")
    (tmp_path / "val").rename(tmp_path / "other")
    assert "val is no folder" in refusal(tmp_path, "classify")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.png", "/d/labels/train/a.txt"),
        ("/images/x/images/a.b.jpg", "/images/x/labels/a.b.txt"),
        ("/d/train/a.png", "/d/train/a.txt"),
    ],
)
def test_labels_lie_where_ultralytics_looks(image: str, label: str) -> None:
    assert label_name(image) == label
