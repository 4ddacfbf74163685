"""What is trained: every task, the same figures as plain Ultralytics, and the same again after interruptions."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt
from tests.faults.yolo_results import figures, weights
from yolo_trainer.storage.sealed_file import seal
from yolo_trainer.training.checkpoint_file import read_snapshot, write_snapshot

# Mosaics that close before the last epoch, gradients accumulated over two of an epoch's three batches: all has a state.
ARGS = {
    "plots": False,
    "workers": 0,
    "nbs": 16,
    "warmup_epochs": 0,
    "close_mosaic": 1,
    "lr0": 0.002,
    "optimizer": "AdamW",
}
EPOCHS = 3
TRAINING = {"epochs": EPOCHS, "imageSize": 32, "batch": 8, "seed": 3, "args": ARGS}
NAMES = {"segment": "yolo26n-seg", "classify": "yolo26n-cls", "pose": "yolo26n-pose", "obb": "yolo26n-obb"}
FIGURES = {"classify": {"top1", "top5"}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def start(shared: Path) -> Iterator[Callable[..., Attempt]]:
    attempts: list[Attempt] = []

    def begin(
        name: str,
        task: str = "detect",
        export: tuple[str, ...] = (),
        model: str | None = None,
        data: Path | None = None,
        **training: Any,
    ) -> Attempt:
        data = data or shared / f"data-{task}"
        if not data.exists():
            make_dataset(task, data, train=24, val=8)
        job = {
            "job": {"namespace": "vision", "name": name, "uid": name},
            "model": model or f"{NAMES.get(task, 'yolo26n')}.yaml",
            "task": task,
            "dataset": {"path": str(data)},
            "training": {**TRAINING, **training},
            "output": {"path": str(shared / name), "export": export},
        }
        folder = shared / f"{name}-{len(attempts)}"
        attempts.append(Attempt(folder, job, TMPDIR=str(shared), MPLCONFIGDIR=str(shared / "matplotlib")))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


@pytest.fixture(scope="module")
def uninterrupted(start: Callable[..., Attempt], shared: Path) -> Path:
    attempt = start("uninterrupted")
    code, _ = attempt.ended()
    assert code == 0, attempt.log
    return shared / "uninterrupted"


def test_the_figures_are_those_of_plain_ultralytics(uninterrupted: Path, shared: Path) -> None:
    """A user who changes from `yolo train` gets the same training, number for number."""
    description = {
        "path": str(shared / "data-detect"),
        "train": "images/train",
        "val": "images/val",
        "names": ["digit"],
    }
    (shared / "plain.yaml").write_text(json.dumps(description))
    arguments = {
        **ARGS, "data": str(shared / "plain.yaml"), "epochs": EPOCHS, "imgsz": 32, "batch": 8, "seed": 3,
        "device": "cpu", "project": str(shared), "name": "plain", "verbose": False,
    }  # fmt: skip
    script = f"from ultralytics import YOLO; YOLO('yolo26n.yaml').train(**{arguments!r})"
    environment = {**os.environ, "YOLO_OFFLINE": "1", "YOLO_CONFIG_DIR": str(shared)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, stdout=subprocess.DEVNULL)

    assert figures(uninterrupted) == figures(shared / "plain")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_training_gives_equal_weights(
    start: Callable[..., Attempt], uninterrupted: Path, shared: Path, number: signal.Signals
) -> None:
    import torch

    name = f"interrupted-{number.name.lower()}"
    epochs = 1 if number == signal.SIGTERM else 2
    first = start(name)
    first.wait_for("an epoch", lambda: f"epoch {epochs}/{EPOCHS}" in first.log)
    first.process.send_signal(number)
    if number == signal.SIGTERM:
        code, report = first.ended()
        assert (code, report["reason"]) == (143, "Interrupted"), first.log
        assert report["message"] == f"asked to end; {report['epoch']} of {EPOCHS} epochs are in the checkpoint"
    else:
        assert first.process.wait() == -signal.SIGKILL
        assert not first.word_file.exists()
        last = shared / name / "work" / "weights" / "last.pt"
        last.write_bytes(last.read_bytes()[:1000])  # what a kill in the middle of Ultralytics' own write leaves

    second = start(name)
    code, report = second.ended()

    assert code == 0, second.log
    assert "Resuming from the checkpoint: " in second.log
    assert report["epoch"] == EPOCHS
    assert figures(shared / name) == figures(uninterrupted)
    for file in ("best.pt", "last.pt"):
        expected, found = weights(uninterrupted / "weights" / file), weights(shared / name / "weights" / file)
        assert expected.keys() == found.keys()
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items()), "bit for bit"

    # The node was lost before the operator read the termination message: what is published is not trained again.
    third = start(name)
    assert third.ended() == (0, report)
    assert "Training" not in third.log


@pytest.mark.parametrize("damaged", ["resume.pt", "best.pt"])
def test_a_damaged_checkpoint_is_not_resumed(
    start: Callable[..., Attempt], uninterrupted: Path, shared: Path, damaged: str
) -> None:
    name = f"damaged-{damaged.removesuffix('.pt')}"
    first = start(name)
    first.wait_for("two epochs", lambda: f"epoch 2/{EPOCHS}" in first.log)
    first.process.kill()
    first.process.wait()
    file = shared / name / "checkpoint" / damaged
    content = bytearray(file.read_bytes())
    place = len(content) * 3 // 5  # in the averaged weights of the snapshot, and in those of the best epoch
    content[place : place + 64] = b"\xff" * 64  # not a number, in whatever precision
    file.write_bytes(content)

    second = start(name)
    code, report = second.ended()

    assert (code, report["epoch"]) == (0, EPOCHS), second.log
    if damaged == "best.pt":
        assert "The best weights so far are lost" in second.log
        assert report["weights"].keys() == {"best", "last"}
        return
    assert f"The checkpoint {file} is damaged and not resumed" in second.log
    assert re.search(rf"Resuming from the checkpoint: [12] of {EPOCHS} epochs", second.log)
    assert figures(shared / name) == figures(uninterrupted)
    for each in ("best.pt", "last.pt"):
        expected, found = weights(uninterrupted / "weights" / each), weights(shared / name / "weights" / each)
        assert all(tensor.equal(found[key]) for key, tensor in expected.items()), "bit for bit"


def test_checkpoints_may_be_further_apart(start: Callable[..., Attempt], uninterrupted: Path, shared: Path) -> None:
    first = start("apart", checkpointInterval=2)
    first.wait_for("two epochs", lambda: f"epoch 2/{EPOCHS}" in first.log)
    first.process.kill()
    first.process.wait()
    checkpoint = shared / "apart" / "checkpoint"
    assert (checkpoint / "resume.pt").exists()
    assert not (checkpoint / "previous.pt").exists(), "the first epoch made none"

    second = start("apart")
    code, _ = second.ended()

    assert code == 0, second.log
    assert f"Resuming from the checkpoint: 2 of {EPOCHS} epochs" in second.log
    assert figures(shared / "apart") == figures(uninterrupted)


def test_a_full_volume_is_named_and_the_checkpoint_before_is_kept(
    start: Callable[..., Attempt], uninterrupted: Path, shared: Path
) -> None:
    checkpoint = shared / "full" / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / ".resume.pt.tmp").symlink_to("/dev/full")

    first = start("full")
    code, report = first.ended()

    assert (code, report["reason"]) == (1, "Error"), first.log
    assert f"{shared}/full could not be written: the volume is full. The volume at " in report["message"]

    (checkpoint / ".resume.pt.tmp").unlink()
    second = start("full")
    assert second.ended()[0] == 0, second.log
    assert figures(shared / "full") == figures(uninterrupted)


def test_rt_detr_is_trained_resumed_and_exported(start: Callable[..., Attempt], shared: Path) -> None:
    args = {**ARGS, "amp": False}
    first = start("rtdetr", model="yolov8n-rtdetr.yaml", epochs=2, imageSize=64, args=args, export=("onnx",))
    first.wait_for("an epoch", lambda: "epoch 1/2" in first.log)
    first.process.send_signal(signal.SIGTERM)
    assert first.ended()[0] == 143, first.log
    second = start("rtdetr", model="yolov8n-rtdetr.yaml", epochs=2, imageSize=64, args=args, export=("onnx",))
    code, report = second.ended()

    assert (code, report["epoch"], report["exportErrors"]) == (0, 2, {}), second.log
    manifest = json.loads((shared / "rtdetr" / "manifest.json").read_text())
    assert manifest["exportDifferences"]["onnx"] < 1e-2


def test_grey_images_are_trained_on_and_exported(start: Callable[..., Attempt], shared: Path) -> None:
    data = make_dataset("detect", shared / "data-grey", train=8, val=4)
    with (data / "data.yaml").open("a") as file:
        file.write("channels: 1\n")
    attempt = start("grey", data=data, epochs=1, export=("onnx", "torchscript"))
    code, report = attempt.ended()

    assert (code, report["exportErrors"]) == (0, {}), attempt.log
    assert report["exports"].keys() == {"onnx", "torchscript"}


def test_a_time_limit_counts_over_attempts_and_ends_a_training_well(
    start: Callable[..., Attempt], uninterrupted: Path, shared: Path
) -> None:
    first = start("limited", timeLimit=10**6)
    checkpoint = shared / "limited" / "checkpoint" / "resume.pt"
    first.wait_for("a checkpoint", (checkpoint.parent / "job.json").exists)
    first.process.kill()
    first.process.wait()
    found = read_snapshot(checkpoint)
    trained = found.course.epochs
    assert found.course.seconds > 0
    days = replace(found.course, seconds=10.0**6)  # of training: more than any limit allows
    (shared / "last.pt").write_bytes(found.checkpoint)
    write_snapshot(checkpoint, days, shared / "last.pt", found.state)
    seal(checkpoint)

    second = start("limited", timeLimit=10**6)
    code, report = second.ended()

    assert (code, report["reason"], report["epoch"]) == (0, "Completed", trained + 1), second.log
    assert report["message"].endswith("; the time limit of 1000000 s ended it there")
    manifest = json.loads((shared / "limited" / "manifest.json").read_text())
    assert (manifest["ended"], manifest["epochs"]) == ("timeLimit", trained + 1)
    assert figures(shared / "limited") == figures(uninterrupted)[: trained + 1], "until there, the same training"


@pytest.mark.parametrize("task", ["segment", "classify", "pose", "obb"])
def test_every_other_task_is_trained_and_exported(start: Callable[..., Attempt], shared: Path, task: str) -> None:
    args = {**ARGS, "mosaic": 0.0, "nbs": 4, "fliplr": 0.0}
    attempt = start(task, task, epochs=3, imageSize=64, batch=4, args=args, export=("onnx",))
    code, report = attempt.ended()

    assert code == 0, attempt.log
    assert report["metrics"].keys() == FIGURES.get(task, {"mAP50", "mAP50_95"})
    losses = [
        sum(float(cell) for name, cell in row.items() if name.startswith("train/")) for row in figures(shared / task)
    ]
    assert min(losses[1:]) < losses[0], "it learns"
    manifest = json.loads((shared / task / "manifest.json").read_text())
    assert manifest["task"] == task
    assert manifest["exportDifferences"]["onnx"] < 1e-3, "onnxruntime gives what the weights give"
    assert (shared / task / manifest["exports"]["onnx"]).stat().st_size > 0
