"""Jobs that validate on a further split after the training, that only validate, and that only export."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt

ARGS = {"plots": True, "workers": 0, "mosaic": 0.0, "warmup_epochs": 0, "lr0": 0.002, "optimizer": "AdamW"}
METRICS = {"mAP50", "mAP50_95"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose test split is its train split: there are figures of its own for it."""
    folder = tmp_path_factory.mktemp("modes")
    data = make_dataset("detect", folder / "data", train=16, val=8)
    description = yaml.safe_load((data / "data.yaml").read_text())
    (data / "data.yaml").write_text(yaml.safe_dump({**description, "test": description["train"]}))
    return folder


@pytest.fixture(scope="module")
def start(shared: Path) -> Iterator[Callable[..., Attempt]]:
    attempts: list[Attempt] = []

    def begin(name: str, full: str = "", **fields: Any) -> Attempt:
        job = {
            "job": {"namespace": "vision", "name": name, "uid": name},
            "model": "yolov8n.yaml",
            "dataset": {"path": str(shared / "data")},
            "training": {"epochs": 2, "imageSize": 64, "batch": 8, "args": ARGS},
            **fields,
            "output": {"path": str(shared / name), **fields.get("output", {})},
        }
        folder = shared / f"{name}-{len(attempts)}"
        environment = {"TMPDIR": str(shared), "MPLCONFIGDIR": str(shared / "matplotlib")}
        if full:  # the part of the job that has no GPU memory left
            environment |= {"STAGE": full, "FACE": "torch", "YOLO_OFFLINE": "1"}
        module = "tests.faults.yolo_full_gpu" if full else "yolo_trainer"
        attempts.append(Attempt(folder, job, module=module, **environment))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read a manifest, and see that every file that it names is there."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        assert (folder / name).stat().st_size == file["bytes"]
    return manifest


@pytest.fixture(scope="module")
def trained(start: Callable[..., Attempt], shared: Path) -> Path:
    """A training that is interrupted while it validates on `test`, and then does that alone."""
    first = start("trained", validation={"split": "test"})
    first.wait_for("the validation on test", (shared / "trained" / "work" / "test").exists)
    first.process.send_signal(signal.SIGTERM)
    code, report = first.ended()
    assert (code, report["reason"]) == (143, "Interrupted"), first.log
    assert report["weights"].keys() == {"best", "last"}, "they are published"
    assert manifest_of(shared / "trained")["validation"] is None

    second = start("trained", validation={"split": "test"})
    code, report = second.ended()
    assert code == 0, second.log
    assert "Training " not in second.log
    manifest = manifest_of(shared / "trained")
    assert report["validation"] == {
        "split": "test",
        "metrics": {name: pytest.approx(value, abs=1e-4) for name, value in manifest["validation"]["metrics"].items()},
    }
    assert report["validation"]["metrics"].keys() == report["metrics"].keys() == METRICS
    assert "2 of 2 epochs, mAP50 " in report["message"]
    assert "; on test: mAP50 " in report["message"]
    assert any(name.startswith("test/") for name in manifest["files"]), "plots"
    return shared / "trained"


def test_validation_after_training_and_mode_validate_agree(
    start: Callable[..., Attempt], trained: Path, shared: Path
) -> None:
    further = manifest_of(trained)["validation"]

    attempt = start(
        "validated", mode="Validate", model=str(trained / "weights" / "best.pt"), validation={"split": "test"}
    )
    code, report = attempt.ended()

    assert (code, report["epoch"], report["epochs"], report["weights"]) == (0, 0, 0, {}), attempt.log
    assert report["message"].startswith("validated on test: mAP50 ")
    manifest = manifest_of(shared / "validated")
    assert manifest["validation"] == further
    assert manifest["metrics"] == further["metrics"]
    assert (manifest["mode"], manifest["epochs"], manifest["ended"]) == ("Validate", 0, None)
    assert "BoxPR_curve.png" in manifest["files"]
    assert not any(name.endswith(".pt") for name in manifest["files"])

    again = start(
        "validated", mode="Validate", model=str(trained / "weights" / "best.pt"), validation={"split": "test"}
    )
    assert again.ended() == (0, report)
    assert "Prepared before" not in again.log, "what is published is not done again"


def test_an_export_job_publishes_weights_and_missing_formats(
    start: Callable[..., Attempt], trained: Path, shared: Path
) -> None:
    weights, folder = trained / "weights" / "best.pt", shared / "exported"
    output = {"export": ["onnx", "torchscript"]}
    first = start("exported", mode="Export", model=str(weights), output=output)
    first.wait_for("an export", (folder / "weights" / "best.onnx").exists)
    first.process.kill()
    first.process.wait()

    second = start("exported", mode="Export", model=str(weights), output=output)
    code, report = second.ended()

    assert (code, report["exportErrors"], report["metrics"]) == (0, {}, {}), second.log
    assert (report["message"], report["epochs"]) == ("exported to onnx, torchscript", 0)
    assert (folder / "weights" / "best.pt").read_bytes() == weights.read_bytes()
    manifest = manifest_of(folder)
    assert manifest["exportDifferences"].keys() == {"onnx", "torchscript"}
    assert all(difference < 1e-3 for difference in manifest["exportDifferences"].values())


def test_an_interrupted_validation_is_done_again(start: Callable[..., Attempt], trained: Path, shared: Path) -> None:
    model = str(trained / "weights" / "best.pt")
    first = start("repeated", mode="Validate", model=model)
    first.wait_for("the validation", lambda: first.log.count("Progress is served") == 1 and "val" in stage(first))
    first.process.send_signal(signal.SIGTERM)
    code, report = first.ended()
    assert (code, report["message"]) == (143, "asked to end; what was not published is done again"), first.log

    second = start("repeated", mode="Validate", model=model)
    code, report = second.ended()
    assert (code, report["message"][:17]) == (0, "validated on val:"), second.log
    assert report["metrics"].keys() == METRICS


def stage(attempt: Attempt) -> str:
    progress = attempt.progress()
    assert (progress["epoch"], progress["epochs"]) == (0, 0)
    return str(progress["stage"])


def test_validation_out_of_memory_halves_the_batch(start: Callable[..., Attempt], trained: Path) -> None:
    model = str(trained / "weights" / "best.pt")
    first = start("full", "validation", mode="Validate", model=model)
    code, report = first.ended()
    assert (code, report["reason"], report["batch"]) == (12, "OutOfMemory", 8), first.log
    assert "out of GPU memory in the validation, with 8 images per batch" in report["message"]

    second = start("full", mode="Validate", model=model)
    code, report = second.ended()
    assert (code, report["batch"]) == (0, 4), second.log
    assert "batch 4 instead of 8: the job ran out of memory with 8" in second.log
