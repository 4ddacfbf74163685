"""Invalid jobs and data sets: each is refused without a GPU, with a message that says what to change.

These are found within milliseconds, before Ultralytics is imported; what it checks itself is in test_ultralytics.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.yolo.broken_case import BOX, Case, classify, drop, finished, listed, obb, pose, segment
from yolo_trainer.errors import ConfigInvalidError, DatasetInvalidError


def export(case: Case, **fields: object) -> None:
    case.job.update({"mode": "Export", **fields})
    case.job["output"]["export"] = ["onnx"]


def validates_own_output(case: Case) -> None:
    weights = case.folder / "output" / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    case.job.update(mode="Validate", model="best.pt")


def without_results(case: Case) -> None:
    finished(case)
    (case.folder / "run" / "results.csv").unlink()


def empty_test(case: Case) -> None:
    (case.data / "images" / "test").mkdir()
    case.description["test"] = "images/test"
    case.job["validation"] = {"split": "test"}


POINTS = "1 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 2\n"
CONFIG: list[tuple[Callable[[Case], object], str]] = [
    (lambda c: setattr(c, "text", "{"), "is not valid JSON or YAML"),
    (lambda c: setattr(c, "text", "model: ["), "is not valid JSON or YAML"),
    (lambda c: setattr(c, "text", ""), "is not valid"),
    (lambda c: c.job.pop("model"), "model is missing"),
    (lambda c: c.job.update(modle="x"), "modle is unknown, did you mean 'model'?"),
    (lambda c: c.job["training"].update(epoch=3), "training.epoch is unknown, did you mean 'epochs'?"),
    (lambda c: c.job["training"].update(imgsz=64), "training.imgsz is unknown: give training.imageSize instead"),
    (lambda c: c.job["training"].update(lr0=0.1), "training.lr0 is unknown: Ultralytics' own arguments go into"),
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
    (lambda c: c.args(lr=0.1), "training argument, did you mean 'lr0' or 'lrf'?"),
    (lambda c: c.args(device="0"), "training.args.device cannot be set: the operator chooses the GPU"),
    (lambda c: c.args(resume=True), "training.args.resume cannot be set: a checkpoint of the same job"),
    (lambda c: c.args(epochs=3), "give training.epochs instead"),
    (lambda c: c.args(tracker="x"), "has no effect on a training: leave it out"),
    (lambda c: c.args(classes=[0, 2]), "training.args.classes has 2, and the data set's classes go from 0 to 1"),
    (lambda c: c.args(split="test"), "training.args.split is test, and the data set has train, val"),
    (lambda c: c.job.update(model="yolo26n"), "name an architecture (yolo26n.yaml) to train from scratch, or weights"),
    (lambda c: c.job.update(model="file:///nowhere/my.pt"), "model file:///nowhere/my.pt does not exist"),
    (lambda c: c.job.update(resumeFrom="runs/one"), "resumeFrom: 'runs/one' must be an absolute path, or a URI"),
    (lambda c: c.job.update(resumeFrom="https://h/run"), "resumeFrom: https:// is not supported: use s3, gs, file"),
    (lambda c: c.job.update(resumeFrom="/nowhere"), "resumeFrom /nowhere holds no finished run: manifest.json is"),
    (lambda c: c.job.update(resumeFrom="file:///nowhere"), "resumeFrom file:///nowhere/manifest.json does not exist"),
    (lambda c: c.job.update(resumeFrom=str(c.folder / "output")), "is the output folder of this job, or holds it"),
    (lambda c: c.job.update(resumeFrom=str(c.folder)), "is the output folder of this job, or holds it"),
    (lambda c: finished(c, model="yolo26s.yaml"), "trained yolo26s.yaml: give model: yolo26s.yaml"),
    (lambda c: finished(c, task="segment"), "trained segment: give task: segment"),
    (lambda c: finished(c, checkpointKept=False), "Set output.keepCheckpoint: true in the job that trains"),
    (lambda c: finished(c, checkpointKept=False), "/run/weights/last.pt, without resumeFrom"),
    (lambda c: finished(c, epochs=10), "has 10 already. training.epochs is the total: give more than 10"),
    (lambda c: finished(c), "/run/checkpoint/resume.pt is missing, damaged or of a later job. Begin a new training"),
    (lambda c: without_results(c), "/run/results.csv is missing, damaged or of a later job. Begin a new"),
    (lambda c: c.job.update(mode="Test"), "mode: Input should be 'Train', 'Validate' or 'Export'"),
    (lambda c: c.job.update(mode="Export"), "mode Export needs output.export: name a format, such as onnx"),
    (lambda c: export(c, validation={"split": "test"}), "mode Export validates nothing: leave validation out"),
    (lambda c: export(c, mode="Validate"), "mode Validate makes no exports: leave output.export out, or use mode"),
    (lambda c: export(c, resumeFrom="/run"), "mode Export trains nothing: leave resumeFrom and output.keepCheckpoint"),
    (lambda c: export(c), "model is yolo26n.yaml, and mode Export needs weights: name a .pt file"),
    (lambda c: c.job.update(mode="Validate"), "model is yolo26n.yaml, and mode Validate needs weights"),
    (lambda c: validates_own_output(c), "is in output.path, whose results this job would replace"),
    (lambda c: c.job.update(validation={"split": "test"}), "validation.split is test, and the data set has train, val"),
    (lambda c: c.job.update(validation={"split": "all"}), "validation.split: Input should be 'train', 'val' or 'test'"),
]
DATA: list[tuple[Callable[[Case], object], str]] = [
    (lambda c: c.job["dataset"].update(path="/nowhere"), "dataset.path must be a folder that holds data.yaml"),
    (lambda c: c.job.update(dataset={"uri": "file:///nowhere/d.zip"}), "file:///nowhere/d.zip does not exist"),
    (lambda c: c.job.update(dataset={"uri": c.archive()}), "it has readme.txt; say with dataset.path where it is"),
    (lambda c: c.job.update(dataset={"uri": c.archive(), "path": "d"}), "dataset.path is d, and dataset.uri holds no"),
    (lambda c: c.job.update(dataset={"uri": c.archive(entry="../x")}), "is not safe to unpack"),
    (
        lambda c: c.job.update(dataset={"uri": c.packed(b"<html>")}),
        "1 of the images in train cannot be used: mine.zip/",
    ),
    (lambda c: c.job["dataset"].update(path=c.packed()[7:]), "unpack it, or give dataset.uri file:///"),
    (lambda c: c.job["dataset"].update(path=str(c.image("train", 0))), "name a YAML file, an .ndjson file, or the"),
    (lambda c: setattr(c, "yaml", "names: [yes, no]\ntrain: a\nval: b\n"), "quote it, for example 'yes'"),
    (
        lambda c: setattr(c, "yaml", "names: [caf\xe9]".encode("latin-1")),
        "data.yaml is not UTF-8 (byte 0xe9 in line 1)",
    ),
    (lambda c: setattr(c, "yaml", "names: [cat]".encode("utf-16")), "data.yaml is UTF-16: save it as UTF-8"),
    (lambda c: c.job.update(dataset={"uri": c.archive(), "sha256": "0" * 64}), "correct dataset.sha256"),
    (lambda c: drop(c, "train"), "train is missing: name its folder of images"),
    (lambda c: drop(c, "val"), "val is missing"),
    (lambda c: drop(c, "names"), "names is missing: list the classes"),
    (lambda c: c.description.update(names={0: "a", 2: "b"}), "number the classes from 0 without a gap"),
    (lambda c: c.description.update(nc=3), "nc says 3 classes, names lists 2"),
    (lambda c: c.description.update(train="images/tarin"), "train is images/tarin, and"),
    (lambda c: c.description.update(path="elsewhere"), "path is elsewhere, and"),
    (lambda c: c.empty("val"), "val has no images in"),
    (lambda c: empty_test(c), "test has no images in"),
    (lambda c: (c.data / "labels").rename(c.data / "annotations"), "no label file; that of"),
    (lambda c: c.labels(""), "train has 3 images and not one labelled object: label some"),
    (lambda c: (c.data / "images/train/0.png").write_bytes(b""), "images/train/0.png: not an image"),
    (lambda c: (c.data / "images/train/0.png").write_bytes(b"<html>"), "images/train/0.png: not an image"),
    (lambda c: c.cut("png"), "images/train/0.png: "),
    (lambda c: c.cut("jpg"), "images/train/0.jpg: image file is truncated"),
    (lambda c: c.image("train", 0, 5), "images/train/0.png: 5 x 5 pixels; the smallest is 10 x 10"),
    (lambda c: listed(c, "images/train/0.png"), "must be an absolute path, or begin with './'"),
    (lambda c: listed(c, "./images/train/9.png"), "images/train/9.png: No such file"),
    (lambda c: c.label("train", 1, "2 0.5 0.5 0.2 0.2"), "train/1.txt: line 1: class 2 is not in names"),
    (lambda c: c.label("val", 1, "-1 0.5 0.5 0.2 0.2"), "val/1.txt: line 1: class -1 is not a whole number"),
    (lambda c: c.label("train", 1, "0.5 0.5 0.5 0.2 0.2"), "class 0.5 is not a whole number"),
    (lambda c: c.label("train", 1, "1 320 240 20 20"), "coordinate 320 is outside the image: they are shares"),
    (lambda c: c.label("train", 1, "1 0.5 0.5 -0.2 0.2"), "outside the image"),
    (lambda c: c.label("train", 1, "1 nan 0.5 0.2 0.2"), "a figure is not finite"),
    (lambda c: c.label("train", 1, BOX + "1 0.5 0.5 0.2"), "line 2: the task detect needs 5 columns"),
    (lambda c: c.label("train", 1, "1,0.5,0.5,0.2,0.2"), "is not a row of numbers"),
    (lambda c: c.label("train", 1, b"\xff\xfe\x00"), "train/1.txt: is UTF-16: save it as UTF-8"),
    (lambda c: c.label("train", 1, BOX + "1 0.1 0.1 0.2 0.1 0.2 0.2"), "boxes (5 columns) and polygons are mixed"),
    (lambda c: segment(c, BOX), "the task segment needs a class and at least 3 points"),
    (lambda c: pose(c, BOX), "kpt_shape is missing: the task pose needs"),
    (lambda c: pose(c, BOX, kpt_shape=[2, 3]), "11 columns (class, box, 2 keypoints of 3 figures), found 5"),
    (
        lambda c: pose(c, POINTS, kpt_shape=[2, 3], flip_idx=[1, 2]),
        "flip_idx must name each keypoint from 0 to 1 once",
    ),
    (lambda c: obb(c, BOX), "9 columns (class and 4 corners x y), found 5"),
    (lambda c: classify(c, "train/cat"), "val is no folder: the task classify needs"),
    (lambda c: classify(c, "train/cat", "val/dog"), "lacks: dog"),
]


def ultralytics_imported() -> None:
    raise AssertionError("Ultralytics is imported")


@pytest.mark.parametrize(("wrong", "sentence"), CONFIG, ids=[sentence[:60] for _, sentence in CONFIG])
def test_a_wrong_job_is_refused(tmp_path: Path, wrong: Callable[[Case], object], sentence: str) -> None:
    case = Case(tmp_path)
    wrong(case)

    error = case.refusal(ultralytics_imported)

    assert isinstance(error, ConfigInvalidError), error
    assert sentence in str(error)


@pytest.mark.parametrize(("wrong", "sentence"), DATA, ids=[sentence[:60] for _, sentence in DATA])
def test_a_wrong_data_set_is_refused(tmp_path: Path, wrong: Callable[[Case], object], sentence: str) -> None:
    case = Case(tmp_path)
    wrong(case)

    error = case.refusal(ultralytics_imported)

    assert isinstance(error, DatasetInvalidError), error
    assert sentence in str(error)
