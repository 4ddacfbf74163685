"""What only Ultralytics can check, and what follows from its own lists: the unit tests that import it."""

import pickle
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.unit.yolo.broken_case import Case, weights
from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.dataset import check_dataset
from yolo_trainer.inputs.training_arguments import TrainingRequest, check_compiler, check_device, check_values
from yolo_trainer.inputs.weights import check_model, find_model
from yolo_trainer.job.loader import load_job
from yolo_trainer.job.spec import Job
from yolo_trainer.outputs.finished_run import FinishedRun, check_run
from yolo_trainer.prepare import prepare
from yolo_trainer.training.checkpoint_file import Course, Snapshot, read_snapshot, write_snapshot
from yolo_trainer.training.checkpoint_store import CheckpointStore
from yolo_trainer.training.stop_conditions import Ending
from yolo_trainer.training.trainer import _trainer_class

CONFIG: list[tuple[Callable[[Case], object], str]] = [
    (lambda c: c.args(lr0="high"), "'lr0=high' is of invalid type str"),
    (lambda c: c.args(mosaic=2.0), "'mosaic=2.0' is an invalid value"),
    (lambda c: c.args(plots="yes"), "'plots' must be a bool"),
    (lambda c: c.args(copy_paste_mode="cut"), "copy_paste_mode is cut; it must be one of flip, mixup"),
    (lambda c: c.args(auto_augment="rand"), "auto_augment is rand; it must be one of randaugment, augmix, autoaugment"),
    (lambda c: c.args(quantize="int8"), "training.args.quantize needs the Python package nvidia-modelopt"),
    (lambda c: c.args(optimizer="Lion"), "optimizer is Lion; it must be one of auto, SGD"),
    (lambda c: c.args(pretrained="none.pt"), "none.pt was not found"),
    (lambda c: c.job.update(model="yolo26n.pt"), "give its address (https://github.com/ultralytics/assets/"),
    (lambda c: c.job.update(model="yolo99n.yaml"), "model yolo99n.yaml cannot be used"),
    (lambda c: c.job.update(model="yolo26n-seg.yaml"), "is for the task segment, and the job's task is detect"),
    (lambda c: weights(c, b"half of a fi"), "my.pt cannot be used"),
    (lambda c: c.job.update(model="yolov8s-world.yaml"), "model yolov8s-world.yaml is a YOLO-World model"),
    (lambda c: c.job.update(model="yolov8s-worldv2.yaml"), "is a YOLO-World model"),
    (lambda c: c.job.update(model="yoloe-26n.yaml"), "model yoloe-26n.yaml is a YOLOE model"),
    (lambda c: c.job.update(model="yoloe-11s-seg.yaml"), "is a YOLOE model"),
]


@pytest.mark.parametrize(("wrong", "sentence"), CONFIG, ids=[sentence[:60] for _, sentence in CONFIG])
def test_a_wrong_job_is_refused(tmp_path: Path, wrong: Callable[[Case], object], sentence: str) -> None:
    case = Case(tmp_path)
    wrong(case)

    error = case.refusal()

    assert isinstance(error, ConfigInvalidError), error
    assert sentence in str(error)


def test_every_wrong_value_is_named_at_once(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.args(lr0="high", mosaic=2.0, optimizer="Lion", workers=3)

    said = str(case.refusal())

    assert [name in said for name in ("'lr0=high'", "'mosaic=2.0'", "optimizer is Lion", "workers")] == [True] * 3 + [
        False
    ]


def test_the_arguments_that_a_job_becomes_pass(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.args(lr0=0.5, workers=3)
    job = Job.model_validate(case.job)

    check_values(TrainingRequest(job, case.data / "data.yaml", job.model, job.training.args, "cpu", 4).arguments())


def test_a_model_that_fits_the_task_passes() -> None:
    check_model("yolo26n.yaml", "detect")
    check_model("yolo26n-seg.yaml", "segment")


def test_weights_of_a_model_that_is_trained_with_text_are_refused(tmp_path: Path) -> None:
    """Once fused with its classes, it has the head of any YOLO; its class is another."""
    import torch
    from ultralytics.nn.tasks import YOLOEModel

    model = YOLOEModel("yoloe-26n.yaml", verbose=False)
    torch.save({"model": model}, tmp_path / "renamed.pt")

    with pytest.raises(ConfigInvalidError, match=r"renamed\.pt is a YOLOE model"):
        check_model(str(tmp_path / "renamed.pt"), "detect")


def test_space_is_checked_before_the_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_trainer.storage.volumes.BYTES_PER_PARAMETER", 10**12)
    case = Case(tmp_path)

    error = case.refusal()

    assert isinstance(error, ConfigInvalidError)
    assert "and checkpoints and weights of a model with 2,572,280 parameters need " in str(error)

    job = load_job(case.folder / "job.json")
    (job.output.path / "checkpoint").mkdir()
    CheckpointStore(job.output.path / "checkpoint", job.output.path / "work", job.job.uid).own()
    assert prepare(job, 1).parameters == 2_572_280


def run_of(folder: Path, **train_args: Any) -> FinishedRun:
    """Return a finished run of the classes `zero` and `one`."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    model = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    model.names = {0: "zero", 1: "one"}
    torch.save({"ema": model, "train_args": {"optimizer": "AdamW", **train_args}}, folder / "last.pt")
    write_snapshot(folder / "resume.pt", Course(6, ending=Ending.EPOCHS), folder / "last.pt", {})
    return FinishedRun(folder / "resume.pt", folder / "best.pt", folder / "results.csv", 6)


def test_a_run_continues_with_its_optimizer(tmp_path: Path) -> None:
    case, run = Case(tmp_path), run_of(tmp_path)

    def refused(**description: Any) -> str:
        (case.data / "data.yaml").write_text(yaml.safe_dump({**case.description, **description}))
        job = Job.model_validate({**case.job, "resumeFrom": str(tmp_path / "run")})
        try:
            check_run(job, run, check_dataset(case.data, "detect"))
        except ConfigInvalidError as error:
            return str(error)
        return ""

    assert refused() == ""
    assert "the data set has 3 classes, and the run was trained on 2" in refused(names=["zero", "one", "two"])
    assert "class 0 of the data set is one, and was zero in the run" in refused(names=["one", "zero"])
    assert "channels of the data set is 1, and was 3 in the run" in refused(channels=1)
    assert f"model: {tmp_path}/run/weights/last.pt, without resumeFrom" in refused(channels=1)
    case.args(optimizer="AdamW")
    assert refused() == ""
    case.args(optimizer="SGD")
    assert "training.args.optimizer is SGD, and the run in resumeFrom was trained with AdamW" in refused()


def test_weights_are_validated_on_data_with_as_many_classes(tmp_path: Path) -> None:
    import torch

    case, run = Case(tmp_path), run_of(tmp_path)
    model = torch.load(BytesIO(run.read().checkpoint), weights_only=False)["ema"]
    torch.save({"model": model, "train_args": {}}, case.data / "my.pt")
    case.job.update(mode="Validate", model="my.pt")
    case.description["names"] = ["zero", "one", "two"]

    assert "knows 2 classes, and the data set has 3: validate it on data with the classes" in str(case.refusal())

    case.description["names"] = ["zero", "one"]
    (case.data / "data.yaml").write_text(yaml.safe_dump(case.description))
    prepare(load_job(case.folder / "job.json"), 1)


def test_rt_detr_is_trained_by_its_own_trainer() -> None:
    check_model("rtdetr-l.yaml", "detect")

    assert [_trainer_class("detect", model).__name__ for model in ("rtdetr-l.yaml", "yolo26n.yaml")] == [
        "RTDETRTrainer",
        "DetectionTrainer",
    ]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_compiling_needs_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.2" if device == "cuda" else None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    for name in ("gcc", "g++"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if device == "cpu" or find_spec("triton"):
        check_compiler({"compile": True})
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    with pytest.raises(ConfigInvalidError, match=r"args\.compile needs a compiler \(g.*which this image lacks"):
        check_compiler({"compile": True})
    check_compiler({"compile": False})
    check_compiler({"compile": True, "distill_model": "teacher.pt"})


def test_bfloat16_needs_a_gpu_that_has_it() -> None:
    check_device({"amp": True}, "cpu")
    with pytest.raises(ConfigInvalidError, match=r"training\.args\.amp is bf16, which needs a CUDA GPU"):
        check_device({"amp": "bf16"}, "cpu")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_export_is_compared_on_as_many_channels_as_the_model_has(tmp_path: Path, channels: int) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from yolo_trainer.outputs.exports import export

    model = DetectionModel("yolo26n.yaml", ch=channels, verbose=False)
    torch.save({"model": model, "train_args": {"task": "detect"}}, tmp_path / "best.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "image.png")

    made = export(tmp_path / "best.pt", "torchscript", 64, [tmp_path / "image.png"])

    assert made.difference is not None
    assert made.difference < 1e-3


@pytest.mark.parametrize("name", ["yolo26n.pt", "/nowhere/yolo26n.pt"])
def test_missing_weights_are_never_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigInvalidError, match=r"was not found.*beside the data set.*yolo26n\.yaml"):
        find_model(name, [tmp_path])


def test_a_snapshot_keeps_every_kind_of_value(tmp_path: Path) -> None:
    import torch

    torch.save({"epoch": 1}, tmp_path / "last.pt")
    shared = torch.rand(3)
    state: dict[str, Any] = {
        "tensors": {"weights": torch.rand(4, 3), "scalar": torch.tensor(7), "half": torch.rand(2).half(), "none": None},
        "bfloat16": torch.rand(2).bfloat16(),
        "strided": torch.rand(4, 4)[:, 1],
        "trained": torch.nn.Parameter(torch.rand(2)),
        "random": (np.random.get_state(), torch.get_rng_state()),
        "twice": [shared, shared],
    }

    write_snapshot(tmp_path / "resume.pt", Course(2, 3.5, Ending.PATIENCE), tmp_path / "last.pt", state)
    found = read_snapshot(tmp_path / "resume.pt")

    assert found.course == Course(2, 3.5, Ending.PATIENCE)
    assert found.checkpoint == (tmp_path / "last.pt").read_bytes()
    torch.testing.assert_close(found.state["tensors"], state["tensors"], rtol=0, atol=0)
    for name in ("bfloat16", "strided", "trained"):
        assert torch.equal(found.state[name], state[name]), name
        assert found.state[name].dtype == state[name].dtype, name
    np.random.set_state(found.state["random"][0])
    torch.set_rng_state(found.state["random"][1])
    assert found.state["twice"][0] is found.state["twice"][1]


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Its pickle names the modules that had the classes before they moved."""
    import torch

    checkpoint = BytesIO()
    torch.save({"epoch": 1}, checkpoint)
    snapshot = Snapshot(Course(2, 3.5, Ending.PATIENCE), checkpoint.getvalue(), {"last_step": 7})
    content = pickle.dumps(snapshot, protocol=2)
    for now, before in (("training.checkpoint_file", "snapshot"), ("training.stop_conditions", "ending")):
        assert f"cyolo_trainer.{now}\n".encode() in content
        content = content.replace(f"cyolo_trainer.{now}\n".encode(), f"cyolo_trainer.{before}\n".encode())
    (tmp_path / "resume.pt").write_bytes(content)

    assert read_snapshot(tmp_path / "resume.pt") == snapshot


@pytest.mark.parametrize("content", [b"", b"half a fi", pickle.dumps({"course": 1})])
def test_what_is_no_snapshot_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "resume.pt").write_bytes(content)

    with pytest.raises((EOFError, pickle.UnpicklingError, TypeError)):
        read_snapshot(tmp_path / "resume.pt")
