"""Running out of GPU memory in each part of a job, other failures of exports, and what the next attempt makes of it.

There is no GPU here: the errors are those of PyTorch, cuDNN and cuBLAS, raised in the real training loop.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt

CUDNN = "GET was unable to find an engine to execute this computation"
HANDLE = "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
Start = Callable[..., Attempt]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full-gpu")
    make_dataset("detect", folder / "data", train=32, val=4)
    return folder


@pytest.fixture
def start(shared: Path, tmp_path: Path) -> Iterator[Start]:
    attempts: list[Attempt] = []

    def begin(stage: str = "training", face: str = "torch", fits: int = 0, **output: Any) -> Attempt:
        job = {
            "job": {"namespace": "vision", "name": "digits", "uid": "u1"},
            "model": "yolo26n.yaml",
            "dataset": {"path": str(shared / "data")},
            "training": {"epochs": 2, "imageSize": 64, "batch": 32, "args": {"plots": False, "workers": 0}},
            "output": {"path": str(tmp_path / "output"), **output},
            "gpu": {"memoryMiB": 4096},
        }
        environment = {"TMPDIR": str(tmp_path), "MPLCONFIGDIR": str(shared / "matplotlib"), "YOLO_OFFLINE": "1"}
        folder = tmp_path / f"attempt-{len(attempts)}"
        attempts.append(
            Attempt(
                folder, job, module="tests.faults.yolo_full_gpu", STAGE=stage, FACE=face, FITS=str(fits), **environment
            )
        )
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


def test_the_next_batch_is_half_of_the_smallest_that_failed(start: Start, tmp_path: Path) -> None:
    code, report = start(face=CUDNN, fits=3).ended()

    # Ultralytics tries 32, 16, 8 and 4.
    assert (code, report["reason"], report["batch"]) == (12, "OutOfMemory", 4), report
    assert "with 4 images per batch" in report["message"]

    second = start(face="torch", fits=1)
    code, report = second.ended()

    assert (code, report["reason"], report["batch"]) == (0, "Completed", 1), second.log
    assert "batch 2 instead of 32: the job ran out of memory with 4" in second.log
    assert json.loads((tmp_path / "output" / "manifest.json").read_text())["batch"] == 1
    assert "batch: 1\n" in (tmp_path / "output" / "args.yaml").read_text()


def test_a_resumed_attempt_keeps_the_reduced_batch(start: Start) -> None:
    first = start(fits=8)
    first.wait_for("an epoch", lambda: "epoch 1/2" in first.log)
    first.process.kill()
    first.process.wait()

    second = start(fits=8)
    code, report = second.ended()

    assert (code, report["batch"]) == (0, 8), second.log
    assert "Resuming from the checkpoint" in second.log
    assert "the epoch begins again" not in second.log


def test_running_out_in_a_validation_is_out_of_memory(start: Start) -> None:
    code, report = start("validation", HANDLE).ended()

    assert (code, report["reason"], report["batch"]) == (12, "OutOfMemory", 32), report
    assert "out of GPU memory in a validation after 0 of 2 epochs, with 32 images per batch" in report["message"]


def test_full_shared_memory_is_no_full_gpu(start: Start, tmp_path: Path) -> None:
    code, report = start(face="unable to write to file </torch_71_1842>: No space left on device (28)").ended()

    assert (code, report["reason"]) == (1, "Error"), report
    assert "ran out of shared memory (/dev/shm): lower training.args.workers" in report["message"]
    assert not (tmp_path / "output" / "checkpoint" / "out-of-memory.json").exists()


def test_a_failed_export_withholds_nothing_else(start: Start, tmp_path: Path) -> None:
    attempt = start("onnx", "no operator for \x1b[31maten::x\x1b[0m", fits=32, export=["onnx", "torchscript"])
    code, report = attempt.ended()

    output = tmp_path / "output"
    assert (code, report["reason"]) == (0, "Completed"), attempt.log
    assert report["message"].endswith("; the export to onnx failed: no operator for aten::x")
    assert report["exportErrors"] == {"onnx": "no operator for aten::x"}
    assert report["exports"] == {"torchscript": str(output / "weights" / "best.torchscript")}
    assert report["weights"]["best"] == str(output / "weights" / "best.pt")
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["exportErrors"] == report["exportErrors"]
    assert manifest["exportsPending"] == []
    for name, file in manifest["files"].items():
        assert (output / name).stat().st_size == file["bytes"]
    assert {"weights/best.pt", "weights/best.torchscript"} <= manifest["files"].keys()
    assert not (output / "work").exists()

    again = start("onnx", fits=32, export=["onnx", "torchscript"])
    assert again.ended() == (0, report), "what cannot be exported is not tried indefinitely"


def test_running_out_in_an_export_leaves_it_to_the_next_attempt(start: Start, tmp_path: Path) -> None:
    code, report = start("onnx", CUDNN, fits=32, export=["torchscript", "onnx"]).ended()

    output = tmp_path / "output"
    assert (code, report["reason"], report["epoch"]) == (12, "OutOfMemory", 2), report
    assert "out of GPU memory in an export: " in report["message"]
    assert report["weights"]["best"] == str(output / "weights" / "best.pt")
    assert json.loads((output / "manifest.json").read_text())["exportsPending"] == ["onnx"]
    assert not (output / "checkpoint" / "out-of-memory.json").exists(), "no batch was too large"

    second = start("none", fits=32, export=["torchscript", "onnx"])
    code, report = second.ended()

    assert (code, report["reason"], report["epoch"], report["batch"]) == (0, "Completed", 2, 32), second.log
    assert report["exports"].keys() == {"torchscript", "onnx"}
    assert "Training yolo26n.yaml" not in second.log
    assert (output / "weights" / "best.onnx").is_file()
