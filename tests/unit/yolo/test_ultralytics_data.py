"""What Ultralytics reads of a data set that was checked: all of it, from its label cache, and no image twice."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ultralytics.cfg import get_cfg
from ultralytics.data import utils

from tests.unit.yolo.plain_loader import REFUSED, loaded
from tests.unit.yolo.test_ultralytics_loader import MODELS
from tests.unit.yolo.variants import BOX, Set, drawing
from tests.unit.yolo.variants_images import JPEG
from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.inputs import label_cache
from yolo_trainer.inputs.label_cache import _built, _described
from yolo_trainer.inputs.preparation_record import Prepared
from yolo_trainer.inputs.training_arguments import TrainingRequest
from yolo_trainer.job.spec import Job, Task
from yolo_trainer.prepare import prepare
from yolo_trainer.training import offline
from yolo_trainer.training.loaded_images import check_trained, decoding

TASKS: tuple[Task, ...] = ("detect", "segment", "classify", "pose", "obb")


def job_for(folder: Path, output: Path, task: Task = "detect", **args: Any) -> Job:
    return Job.model_validate(
        {
            "model": MODELS[task],
            "task": task,
            "dataset": {"path": str(folder)},
            "training": {"epochs": 1, "imageSize": 32, "batch": 2, "args": args},
            "output": {"path": str(output)},
        }
    )


def prepared(tmp_path: Path, task: Task = "detect", change: Callable[[Set], object] = lambda _: None) -> Prepared:
    made = Set(tmp_path / "data", task)
    change(made)
    if task != "classify":
        made.write()
    return prepare(job_for(made.folder, tmp_path / "output", task), 1, offline.import_ultralytics)


def opened(_: str) -> None:
    raise AssertionError("an image is opened")


@pytest.mark.parametrize("task", TASKS)
def test_an_attempt_opens_no_image_to_read_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    found = prepared(tmp_path, task)
    monkeypatch.setattr(utils, "check_image", opened)

    outcome = loaded(task, str(found.dataset.written_to(tmp_path)))

    assert [outcome[split][0] for split in ("train", "val")] == [3, 2]


def test_the_caches_are_ultralytics_own(tmp_path: Path) -> None:
    prepared(tmp_path)

    caches = [
        utils.load_dataset_cache_file(file) for file in (tmp_path / "output" / "dataset" / "labels").glob("*.cache")
    ]

    assert sorted(cache["results"] for cache in caches) == [(2, 0, 0, 0, 2), (3, 0, 0, 0, 3)]
    assert sorted(len(cache["labels"]) for cache in caches) == [2, 3]


def test_labels_of_both_splits_in_one_folder_have_a_cache_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(made: Set) -> None:
        made.file("a.txt").write_text("./images/train/0.png\n./images/train/1.png\n")
        made.file("b.txt").write_text("./images/train/2.png\n")
        made.description |= {"train": "a.txt", "val": "b.txt"}

    found = prepared(tmp_path, change=change)
    monkeypatch.setattr(utils, "check_image", opened)

    assert loaded("detect", str(found.dataset.written_to(tmp_path)))["val"][0] == 1


def test_a_changed_image_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared(tmp_path)
    drawing(5, 48).save(tmp_path / "data" / "images" / "train" / "0.png")
    monkeypatch.setattr(utils, "check_image", opened)

    assert REFUSED in loaded("detect", str(found.dataset.written_to(tmp_path)))


def trainer_of(tmp_path: Path, found: Prepared, job: Job) -> Any:
    """Return what of a trainer is compared: its settings and data loaders, with Ultralytics' own data sets."""
    label_cache.keep_in(job.output.path)
    settings = get_cfg(
        overrides=TrainingRequest(job, found.dataset.folder, found.model, found.args, "cpu", 1).arguments()
    )
    data = _described(found.dataset, settings, tmp_path)
    loaders = {
        f"{name}_loader": SimpleNamespace(dataset=_built(data, settings, mode, split))
        for name, mode, split in (("train", "train", "train"), ("test", "val", "val"))
    }
    return SimpleNamespace(args=settings, **loaders)


@pytest.mark.parametrize("task", TASKS)
def test_a_training_that_has_every_image_is_right(tmp_path: Path, task: Task) -> None:
    found = prepared(tmp_path, task)

    check_trained(trainer_of(tmp_path, found, job_for(tmp_path / "data", tmp_path / "output", task)), found.dataset)


@pytest.mark.parametrize("task", ["detect", "classify"])
@pytest.mark.parametrize("fraction", [0.5, 0.9, 1, 2, [1.0, 0.5]])
def test_a_fraction_is_counted_as_ultralytics_does(tmp_path: Path, task: Task, fraction: Any) -> None:
    made = Set(tmp_path / "data", task)
    if task != "classify":
        made.write()
    job = job_for(made.folder, tmp_path / "output", task, fraction=fraction)
    found = prepare(job, 1, offline.import_ultralytics)

    check_trained(trainer_of(tmp_path, found, job), found.dataset)


@pytest.mark.parametrize(
    ("split", "name", "change"),
    [
        ("train", "1.png", lambda file: file.write_bytes(b"<html>")),
        ("val", "0.png", lambda file: file.write_bytes(b"")),
        ("train", "2.png", lambda file: file.unlink()),
        ("train", "9.png", lambda file: drawing().save(file)),
    ],
)
def test_data_that_changes_after_the_check_is_refused(
    tmp_path: Path, split: str, name: str, change: Callable[[Path], object]
) -> None:
    found = prepared(tmp_path)
    change(tmp_path / "data" / "images" / split / name)
    trainer = trainer_of(tmp_path, found, job_for(tmp_path / "data", tmp_path / "output"))

    with pytest.raises(DatasetInvalidError, match=f"^{split} had [23] images when the data set was checked") as caught:
        check_trained(trainer, found.dataset)

    assert "Leave the data unchanged" in str(caught.value)


def test_the_images_that_are_left_out_are_named(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    (tmp_path / "data" / "images" / "train" / "1.png").write_bytes(b"<html>")
    trainer = trainer_of(tmp_path, found, job_for(tmp_path / "data", tmp_path / "output"))

    with pytest.raises(DatasetInvalidError, match=r"2 of them can be trained on: \S+/images/train/1\.png\. Leave"):
        check_trained(trainer, found.dataset)


def test_an_image_that_cannot_be_decoded_in_an_epoch_is_named() -> None:
    with pytest.raises(DatasetInvalidError, match=r"^/d/images/a b\.jpg: OpenCV cannot decode it"), decoding():
        raise FileNotFoundError("Caught FileNotFoundError in DataLoader worker\nImage Not Found /d/images/a b.jpg\n")
    with pytest.raises(FileNotFoundError), decoding():
        raise FileNotFoundError("another file")


def test_a_jpeg_with_trailing_bytes_is_left_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "data" / "images" / "train" / "0.jpg"
    found = prepared(tmp_path, change=lambda made: made.file("images/train/0.jpg").write_bytes(JPEG + b"trailer"))
    before = image.read_bytes()
    for cache in (tmp_path / "output" / "dataset" / "labels").iterdir():
        cache.unlink()

    assert loaded("detect", str(found.dataset.written_to(tmp_path)))["train"][0] == 4
    assert image.read_bytes() == before
    assert not list((tmp_path / "data").rglob("*.cache"))


def test_images_are_not_cached_beside_themselves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Set(tmp_path / "data")
    made.write()

    found = prepare(job_for(made.folder, tmp_path / "output", cache="disk"), 1, offline.import_ultralytics)

    assert "cache" not in found.args
    assert "would write beside your images" in caplog.text


def test_the_test_split_is_read_only_where_it_is_asked_for(tmp_path: Path) -> None:
    made = Set(tmp_path / "data")
    made.description["test"] = "images/test"
    made.write()
    made.file("images/test/0.png").write_bytes(b"no image")

    assert prepare(job_for(made.folder, tmp_path / "a"), 1, offline.import_ultralytics).dataset.images == {
        "train": 3,
        "val": 2,
    }
    with pytest.raises(DatasetInvalidError, match=r"images/test/0\.png: not an image"):
        prepare(job_for(made.folder, tmp_path / "b", split="test"), 1, offline.import_ultralytics)
    drawing().save(made.folder / "images" / "test" / "0.png")
    made.label(made.folder / "images" / "test" / "0.png", BOX)
    found = prepare(job_for(made.folder, tmp_path / "c", split="test"), 1, offline.import_ultralytics)
    assert found.dataset.images == {"train": 3, "val": 2, "test": 1}


def test_prepared_data_is_reused_until_its_description_changes(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    job = job_for(tmp_path / "data", tmp_path / "output")

    def never() -> None:
        raise AssertionError("it is prepared again")

    assert prepare(job, 1, never) == found
    description = tmp_path / "data" / "data.yaml"
    description.write_text(description.read_text() + "# changed\n")
    with pytest.raises(AssertionError, match="prepared again"):
        prepare(job, 1, never)


def test_the_record_is_json(tmp_path: Path) -> None:
    prepared(tmp_path)

    assert json.loads((tmp_path / "output" / "prepared.json").read_text())["prepared"]["dataset"]["unlabelled"] == {}
