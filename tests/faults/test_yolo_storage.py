"""Data from, and results to, a real S3 API server, with an output folder that is lost after each attempt."""

import hashlib
import json
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from demo.recipe import QUICK
from devcluster.programs.trainer import Attempt
from tests.faults.yolo_s3 import S3, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The digits as people pack them: with a folder around."""
    folder = tmp_path_factory.mktemp("archive")
    QUICK.make_images(folder / "digits")
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(folder / "digits", "digits")
    return stream.getvalue()


@pytest.fixture
def start(tmp_path: Path, s3: S3) -> Iterator[Callable[..., Attempt]]:
    attempts: list[Attempt] = []

    def begin(job: dict[str, Any], command: str = "run") -> Attempt:
        folder = tmp_path / f"attempt-{len(attempts)}"
        settings = {"TMPDIR": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "matplotlib"), **s3.environment}
        attempts.append(Attempt(folder, job, command=command, **settings))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


def job_with(tmp_path: Path, dataset: dict[str, Any], uri: str | None = None) -> dict[str, Any]:
    return {
        "job": {"namespace": "vision", "name": "digits", "uid": "uid-1"},
        "model": QUICK.model,
        "dataset": dataset,
        "training": QUICK.training,
        "output": {"path": str(tmp_path / "output"), "uri": uri, "export": ["onnx"]},
    }


def test_a_job_of_uris_alone_survives_the_loss_of_its_pods_folder(
    start: Callable[..., Attempt], s3: S3, archive: bytes, tmp_path: Path
) -> None:
    dataset = {"uri": s3.put("digits.tar.gz", archive), "sha256": hashlib.sha256(archive).hexdigest()}
    job = job_with(tmp_path, dataset, "s3://models/results/digits")

    code, report = start(job, "prepare").ended()
    assert (code, report["reason"]) == (0, "Completed"), report
    assert report["prepared"]["bytes"] == len(archive)
    assert report["prepared"]["images"] == {"train": QUICK.train, "val": QUICK.val}

    first = start(job)
    first.wait_for("the second checkpoint", lambda: "epoch 2/3" in first.log)
    first.process.send_signal(signal.SIGTERM)
    code, report = first.ended()
    assert code == 143, first.log
    assert "Prepared before" in first.log
    assert "Fetched" not in first.log, "the cache is used"
    assert s3.get("results/digits/manifest.json") is None, "half a run is not published"
    shutil.rmtree(tmp_path / "output")

    second = start(job)
    code, report = second.ended()
    assert code == 0, second.log
    assert "The checkpoint was restored from s3://models/results/digits" in second.log
    assert "Resuming from the checkpoint: 2 of 3 epochs are finished" in second.log
    manifest = json.loads(s3.get("results/digits/manifest.json") or b"")
    assert manifest["job"]["uid"] == "uid-1"
    assert {"weights/best.pt", "weights/last.pt", "weights/best.onnx", "results.csv"} <= manifest["files"].keys()
    for name, file in manifest["files"].items():
        content = s3.get(f"results/digits/{name}") or b""
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"]), name
    assert report["weights"]["best"] == "s3://models/results/digits/weights/best.pt"
    assert report["exports"] == {"onnx": "s3://models/results/digits/weights/best.onnx"}
    assert s3.get("results/digits/checkpoint/resume.pt") is None
    shutil.rmtree(tmp_path / "output")

    third = start(job)
    code, again = third.ended()
    assert (code, again) == (0, report), third.log
    assert "Training" not in third.log, "what is published is not trained again"


def test_weights_and_data_may_lie_behind_urls(
    start: Callable[..., Attempt], s3: S3, archive: bytes, tmp_path: Path
) -> None:
    s3.put("digits.tar.gz", archive)
    architecture = f"nc: 10\nscale: n\n{_yolo26()}".encode()
    s3.put("my-yolo26.yaml", architecture)
    job = job_with(tmp_path, {"uri": s3.url("digits.tar.gz"), "path": "digits/data.yaml"})
    job["model"] = f"{s3.url('my-yolo26.yaml')}#sha256={hashlib.sha256(architecture).hexdigest()}"

    code, report = start(job, "prepare").ended()

    assert (code, report["reason"]) == (0, "Completed"), report


def _yolo26() -> str:
    import ultralytics

    text = (Path(ultralytics.__file__).parent / "cfg" / "models" / "26" / "yolo26.yaml").read_text()
    return "\n".join(line for line in text.splitlines() if not line.startswith("nc:"))


@pytest.mark.parametrize(
    ("change", "reason", "sentence"),
    [
        (lambda job, _: job["dataset"].update(sha256="0" * 64), "DatasetInvalid", "correct dataset.sha256"),
        (
            lambda job, _: job["dataset"].update(uri="s3://models/digitz.tar.gz"),
            "DatasetInvalid",
            "dataset.uri s3://models/digitz.tar.gz does not exist",
        ),
        (
            lambda job, s3: job.update(model=s3.url("digits.tar.gz").replace("tar.gz", "pt")),
            "ConfigInvalid",
            "digits.pt does not exist: check the address",
        ),
        (
            lambda job, _: job["output"].update(uri="s3://no-such-bucket/digits"),
            "ConfigInvalid",
            "output.uri s3://no-such-bucket",
        ),
    ],
)
def test_what_is_wrong_behind_a_uri_is_said(
    start: Callable[..., Attempt],
    s3: S3,
    archive: bytes,
    tmp_path: Path,
    change: Callable[[dict[str, Any], S3], None],
    reason: str,
    sentence: str,
) -> None:
    job = job_with(tmp_path, {"uri": s3.put("digits.tar.gz", archive)})
    change(job, s3)

    _, report = start(job, "prepare").ended()

    assert report["reason"] == reason, report
    assert sentence in report["message"]
