"""Ways in which a job or its data set can be wrong: each is refused without a GPU, with what to do about it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import gpu_memory
from yolo_trainer.dataset import label_file
from yolo_trainer.job import load_job
from yolo_trainer.outcome import ConfigInvalidError, DatasetInvalidError, TrainerError
from yolo_trainer.prepare import prepare

BOX = "1 0.5 0.5 0.2 0.2\n"
Job = dict[str, Any]


class Case:
    """A right job and data set, in which one thing is then broken."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        for split, count in (("train", 3), ("val", 2)):
            for number in range(count):
                self.picture(split, number)
                self.label(split, number, BOX)
        self.description: dict[str, Any] = {"train": "images/train", "val": "images/val", "names": ["zero", "one"]}
        self.job: Job = {
            "model": "yolo26n.yaml",
            "task": "detect",
            "dataset": {"path": str(self.data)},
            "training": {"epochs": 1, "imageSize": 64, "batch": 4, "args": {}},
            "output": {"path": str(folder / "output")},
        }
        self.text: str | None = None
        self.folder = folder

    def picture(self, split: str, number: int, edge: int = 32, suffix: str = "png") -> Path:
        file = self.data / "images" / split / f"{number}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((edge, edge), 50).convert("RGB").save(file)
        return file

    def label(self, split: str, number: int, text: str | bytes) -> None:
        file = label_file(self.data / "images" / split / f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def labels(self, text: str) -> None:
        for split, count in (("train", 3), ("val", 2)):
            for number in range(count):
                self.label(split, number, text)

    def args(self, **args: Any) -> None:
        self.job["training"]["args"].update(args)

    def empty(self, split: str) -> None:
        for file in (self.data / "images" / split).iterdir():
            file.unlink()

    def cut(self, suffix: str) -> None:
        file = self.picture("train", 0, 64, suffix)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])

    def archive(self, name: str = "data.zip", entry: str = "readme.txt") -> str:
        with zipfile.ZipFile(self.folder / name, "w") as packed:
            packed.writestr(entry, "x")
        return (self.folder / name).as_uri()

    def refusal(self) -> TrainerError:
        (self.data / "data.yaml").write_text(yaml.safe_dump(self.description))
        file = self.folder / "job.json"
        file.write_text(json.dumps(self.job) if self.text is None else self.text)
        with pytest.raises(TrainerError) as caught:
            prepare(load_job(file), 1)
        return caught.value


def drop(case: Case, *names: str) -> None:
    for name in names:
        del case.description[name]


def segment(case: Case, label: str) -> None:
    case.job.update(task="segment", model="yolo26n-seg.yaml")
    case.labels(label)


def pose(case: Case, label: str, **description: Any) -> None:
    case.job.update(task="pose", model="yolo26n-pose.yaml")
    case.labels(label)
    case.description.update(description)


def obb(case: Case, label: str) -> None:
    case.job.update(task="obb", model="yolo26n-obb.yaml")
    case.labels(label)


def classify(case: Case, *folders: str) -> None:
    case.job.update(task="classify", model="yolo26n-cls.yaml")
    for folder in folders:
        (case.data / folder).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(case.data / folder / "0.png")


def listed(case: Case, line: str) -> None:
    (case.data / "train.txt").write_text(f"{line}\n")
    case.description["train"] = "train.txt"


def weights(case: Case, content: bytes) -> None:
    (case.data / "my.pt").write_bytes(content)
    case.job["model"] = "my.pt"


CONFIG: list[tuple[Callable[[Case], object], str]] = [
    (lambda c: setattr(c, "text", "{"), "is not valid JSON or YAML"),
    (lambda c: setattr(c, "text", "model: ["), "is not valid JSON or YAML"),
    (lambda c: setattr(c, "text", ""), "is not valid"),
    (lambda c: c.job.pop("model"), "model is missing"),
    (lambda c: c.job.update(modle="x"), "modle is unknown, did you mean 'model'?"),
    (lambda c: c.job["training"].update(epoch=3), "training.epoch is unknown, did you mean 'epochs'?"),
    (lambda c: c.job["training"].update(epochs=0), "training.epochs: Input should be greater than 0"),
    (lambda c: c.job["training"].update(batch="many"), "training.batch"),
    (lambda c: c.job["training"].update(batch=0), "training.batch"),
    (
        lambda c: c.job["training"].update(imageSize=16),
        "training.imageSize: Input should be greater than",
    ),
    (lambda c: c.job["training"].update(seed=-1), "training.seed"),
    (lambda c: c.job["training"].update(timeLimit=0), "training.timeLimit: Input should be greater than 0"),
    (lambda c: c.args(time=2), "training.args.time cannot be set: give training.timeLimit instead, in seconds"),
    (lambda c: c.job.update(task="detection"), "task: Input should be 'detect', 'segment'"),
    (lambda c: c.job.update(dataset={}), "dataset: give path (a folder with data.yaml) or uri"),
    (lambda c: c.job["dataset"].update(sha256="0" * 64), "sha256 belongs to a uri: leave it out"),
    (lambda c: c.job.update(dataset={"uri": "s3://b/d.zip", "sha256": "abc"}), "dataset.sha256"),
    (lambda c: c.job.update(dataset={"uri": "ftp://h/d.zip"}), "ftp:// is not supported"),
    (lambda c: c.job.update(dataset={"uri": "htps://h/d.zip"}), "did you mean 'https'?"),
    (lambda c: c.job.update(dataset={"uri": "/data/d.zip"}), "is no URI: begin it with one of https://"),
    (lambda c: c.job.update(dataset={"uri": "s3://b/data.yaml"}), "must be an archive (.zip, .tar"),
    (lambda c: c.job.update(dataset={"uri": "s3:///d.zip"}), "lacks its host or bucket"),
    (lambda c: c.job.update(dataset={"uri": "s3://b/d.zip", "path": "/x"}), "relative, without '..'"),
    (lambda c: c.job.update(dataset={"uri": "s3://b/d/", "sha256": "0" * 64}), "uri names a folder: leave it out"),
    (lambda c: c.job["output"].update(uri="https://h/results"), "https:// is not supported: use s3, gs, file"),
    (lambda c: c.job["output"].update(path=str(c.data)), "give the results another one"),
    (lambda c: c.job["output"].update(path="/proc/output"), "cannot be written"),
    (lambda c: c.job["output"].update(export=["onxx"]), "did you mean 'onnx'?"),
    (
        lambda c: c.args(mosiac=0.0),
        "mosiac is not an Ultralytics training argument, did you mean 'mosaic'?",
    ),
    (lambda c: c.args(device="0"), "training.args.device cannot be set: the operator chooses the GPU"),
    (lambda c: c.args(resume=True), "training.args.resume cannot be set: a checkpoint of the same job"),
    (lambda c: c.args(epochs=3), "give training.epochs instead"),
    (lambda c: c.args(tracker="x"), "has no effect on a training: leave it out"),
    (lambda c: c.args(lr0="high"), "'lr0=high' is of invalid type str"),
    (lambda c: c.args(mosaic=2.0), "'mosaic=2.0' is an invalid value"),
    (lambda c: c.args(optimizer="Lion"), "optimizer is Lion; it must be one of auto, SGD"),
    (lambda c: c.args(split="test"), "training.args.split is test, and the data set has train, val"),
    (lambda c: c.args(pretrained="none.pt"), "none.pt was not found"),
    (lambda c: c.job.update(model="yolo26n"), "name an architecture (yolo26n.yaml) to train from scratch, or weights"),
    (lambda c: c.job.update(model="yolo26n.pt"), "give its address (https://github.com/ultralytics/assets/"),
    (lambda c: c.job.update(model="yolo99n.yaml"), "model yolo99n.yaml cannot be used"),
    (lambda c: c.job.update(model="yolo26n-seg.yaml"), "is for the task segment, and the job's task is detect"),
    (lambda c: c.job.update(model="file:///nowhere/my.pt"), "model file:///nowhere/my.pt does not exist"),
    (lambda c: weights(c, b"half of a fi"), "my.pt cannot be used"),
]
DATA: list[tuple[Callable[[Case], object], str]] = [
    (lambda c: c.job["dataset"].update(path="/nowhere"), "dataset.path must be a folder that holds data.yaml"),
    (lambda c: c.job.update(dataset={"uri": "file:///nowhere/d.zip"}), "file:///nowhere/d.zip does not exist"),
    (lambda c: c.job.update(dataset={"uri": c.archive()}), "it has readme.txt; say with dataset.path where it is"),
    (lambda c: c.job.update(dataset={"uri": c.archive(), "path": "d"}), "dataset.path is d, and dataset.uri holds no"),
    (lambda c: c.job.update(dataset={"uri": c.archive(entry="../x")}), "is not safe to unpack"),
    (lambda c: c.job.update(dataset={"uri": c.archive(), "sha256": "0" * 64}), "correct dataset.sha256"),
    (lambda c: drop(c, "train"), "train: Field required"),
    (lambda c: drop(c, "val"), "val: Field required"),
    (lambda c: drop(c, "names"), "names is missing: list the classes"),
    (lambda c: c.description.update(names={0: "a", 2: "b"}), "number the classes from 0 without a gap"),
    (lambda c: c.description.update(nc=3), "nc says 3 classes, names lists 2"),
    (lambda c: c.description.update(train="images/tarin"), "train is images/tarin, and"),
    (lambda c: c.description.update(path="elsewhere"), "path is elsewhere, and"),
    (lambda c: c.empty("val"), "val has no pictures in"),
    (lambda c: (c.data / "labels").rename(c.data / "annotations"), "no label file; that of"),
    (lambda c: c.labels(""), "train has 3 pictures and not one labelled object: label some"),
    (lambda c: (c.data / "images/train/0.png").write_bytes(b""), "images/train/0.png: not a picture"),
    (lambda c: (c.data / "images/train/0.png").write_bytes(b"<html>"), "images/train/0.png: not a picture"),
    (lambda c: c.cut("png"), "images/train/0.png: "),
    (lambda c: c.cut("jpg"), "images/train/0.jpg: image file is truncated"),
    (lambda c: c.picture("train", 0, 5), "images/train/0.png: 5 x 5 pixels; the smallest is 10 x 10"),
    (lambda c: listed(c, "images/train/0.png"), "must be an absolute path, or begin with './'"),
    (lambda c: listed(c, "./images/train/9.png"), "images/train/9.png: No such file"),
    (lambda c: c.label("train", 1, "2 0.5 0.5 0.2 0.2"), "train/1.txt: line 1: class 2 is not in names"),
    (lambda c: c.label("val", 1, "-1 0.5 0.5 0.2 0.2"), "val/1.txt: line 1: class -1 is not a whole number"),
    (lambda c: c.label("train", 1, "0.5 0.5 0.5 0.2 0.2"), "class 0.5 is not a whole number"),
    (lambda c: c.label("train", 1, "1 320 240 20 20"), "coordinate 320 is outside the picture: they are shares"),
    (lambda c: c.label("train", 1, "1 0.5 0.5 -0.2 0.2"), "outside the picture"),
    (lambda c: c.label("train", 1, "1 nan 0.5 0.2 0.2"), "a figure is not finite"),
    (lambda c: c.label("train", 1, BOX + "1 0.5 0.5 0.2"), "line 2: the task detect needs 5 columns"),
    (lambda c: c.label("train", 1, "1,0.5,0.5,0.2,0.2"), "is not a row of numbers"),
    (lambda c: c.label("train", 1, b"\xff\xfe\x00"), "train/1.txt: not a text file"),
    (lambda c: c.label("train", 1, BOX + "1 0.1 0.1 0.2 0.1 0.2 0.2"), "boxes (5 columns) and polygons are mixed"),
    (lambda c: segment(c, BOX), "the task segment needs a class and at least 3 points"),
    (lambda c: pose(c, BOX), "kpt_shape is missing: the task pose needs"),
    (lambda c: pose(c, BOX, kpt_shape=[2, 3]), "11 columns (class, box, 2 keypoints of 3 figures), found 5"),
    (lambda c: obb(c, "1 0.1 0.1 0.2 0.1 0.2 0.2"), "9 columns (class and 4 corners x y), found 7"),
    (lambda c: classify(c, "train/cat"), "val is no folder: the task classify needs"),
    (lambda c: classify(c, "train/cat", "val/dog"), "lacks: dog"),
]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the GPU was touched")

    monkeypatch.setattr(gpu_memory, "read", touched)
    monkeypatch.setattr(gpu_memory, "open_device", touched)


@pytest.mark.parametrize(("wrong", "sentence"), CONFIG, ids=[sentence[:60] for _, sentence in CONFIG])
def test_a_wrong_job_is_refused(tmp_path: Path, wrong: Callable[[Case], object], sentence: str) -> None:
    case = Case(tmp_path)
    wrong(case)

    error = case.refusal()

    assert isinstance(error, ConfigInvalidError), error
    assert sentence in str(error)


@pytest.mark.parametrize(("wrong", "sentence"), DATA, ids=[sentence[:60] for _, sentence in DATA])
def test_a_wrong_data_set_is_refused(tmp_path: Path, wrong: Callable[[Case], object], sentence: str) -> None:
    case = Case(tmp_path)
    wrong(case)

    error = case.refusal()

    assert isinstance(error, DatasetInvalidError), error
    assert sentence in str(error)
