"""A finished run that is continued for more epochs gives what one uninterrupted training gives."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt
from tests.faults.yolo_results import assert_same_run, figures
from yolo_trainer.storage.sealed_file import seal
from yolo_trainer.training.checkpoint_file import read_snapshot, write_snapshot

FINISHED, TOTAL = 6, 10
# No schedule that depends on the number of epochs: constant learning rate, mosaics to the end, and a model without the
# losses of YOLO26, which change weight over the epochs.
ARGS = {
    "plots": False, "workers": 0, "nbs": 16, "warmup_epochs": 0, "close_mosaic": 0, "lr0": 0.002, "lrf": 1.0,
    "optimizer": "AdamW",
}  # fmt: skip
MODEL = "yolov8n.yaml"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continued")
    make_dataset("detect", folder / "data", train=24, val=8)
    return folder


@pytest.fixture(scope="module")
def start(shared: Path) -> Iterator[Callable[..., Attempt]]:
    attempts: list[Attempt] = []

    def begin(
        name: str, epochs: int, resume_from: str | None = None, output: dict[str, Any] | None = None, **more: Any
    ) -> Attempt:
        job = {
            "job": {"namespace": "vision", "name": name, "uid": name},
            "model": MODEL,
            "dataset": {"path": str(shared / "data")},
            "training": {"epochs": epochs, "imageSize": 32, "batch": 8, "seed": 3, "args": ARGS},
            "output": {"path": str(shared / name), **(output or {})},
            **({} if resume_from is None else {"resumeFrom": resume_from}),
            **more,
        }
        folder = shared / f"{name}-{len(attempts)}"
        attempts.append(Attempt(folder, job, TMPDIR=str(shared), MPLCONFIGDIR=str(shared / "matplotlib")))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def uninterrupted(start: Callable[..., Attempt], shared: Path) -> Path:
    attempt = start("uninterrupted", TOTAL)
    assert attempt.ended()[0] == 0, attempt.log
    assert not (shared / "uninterrupted" / "checkpoint").exists(), "removed, unless it is to be kept"
    return shared / "uninterrupted"


@pytest.fixture(scope="module")
def finished(start: Callable[..., Attempt], shared: Path) -> Path:
    """A run that has kept its checkpoint, on the volume and behind a URI."""
    output = {"keepCheckpoint": True, "uri": (shared / "bucket" / "finished").as_uri()}
    attempt = start("finished", FINISHED, output=output)
    assert attempt.ended()[0] == 0, attempt.log
    folder = shared / "finished"
    assert sorted(file.name for file in (folder / "checkpoint").iterdir()) == ["best.pt", "job.json", "resume.pt"]
    assert json.loads((folder / "manifest.json").read_text())["checkpointKept"]
    for name in ("resume.pt", "best.pt"):
        kept = folder / "checkpoint" / name
        assert (shared / "bucket" / "finished" / "checkpoint" / name).read_bytes() == kept.read_bytes()
    return folder


def test_more_epochs_give_what_one_uninterrupted_training_gives(
    start: Callable[..., Attempt], finished: Path, uninterrupted: Path, shared: Path
) -> None:
    before = digests(finished)

    attempt = start("continued", TOTAL, str(finished))
    code, report = attempt.ended()

    assert (code, report["epoch"], report["epochs"]) == (0, TOTAL, TOTAL), attempt.log
    assert f"Continuing the run in {finished}, which has {FINISHED} epochs" in attempt.log
    assert f"epochs {FINISHED + 1} to {TOTAL}" in attempt.log
    assert_same_run(uninterrupted, shared / "continued")
    assert digests(finished) == before, "the finished run is only read"
    manifest = json.loads((shared / "continued" / "manifest.json").read_text())
    assert (manifest["resumedFrom"], manifest["epochs"]) == (str(finished), TOTAL)
    assert not (shared / "continued" / "checkpoint").exists()


def test_a_killed_continuation_resumes_its_own_checkpoint(
    start: Callable[..., Attempt], finished: Path, uninterrupted: Path, shared: Path
) -> None:
    source = (shared / "bucket" / "finished").as_uri()
    first = start("killed", TOTAL, source)
    first.wait_for("an epoch of its own", lambda: f"epoch {FINISHED + 2}/{TOTAL}" in first.log)
    first.process.kill()
    first.process.wait()
    trained = read_snapshot(shared / "killed" / "checkpoint" / "resume.pt").course.epochs
    assert trained > FINISHED

    second = start("killed", TOTAL, source)
    code, report = second.ended()

    assert (code, report["epoch"]) == (0, TOTAL), second.log
    assert f"Resuming from the checkpoint: {trained} of {TOTAL} epochs are finished" in second.log
    assert "Continuing the run" not in second.log
    assert_same_run(uninterrupted, shared / "killed")


def test_the_time_limit_counts_the_seconds_of_the_continuation_alone(
    start: Callable[..., Attempt], finished: Path, shared: Path
) -> None:
    slow = shared / "slow"
    shutil.copytree(finished, slow)
    snapshot = slow / "checkpoint" / "resume.pt"
    found = read_snapshot(snapshot)
    (shared / "last.pt").write_bytes(found.checkpoint)
    write_snapshot(snapshot, replace(found.course, seconds=10.0**6), shared / "last.pt", found.state)
    seal(snapshot)

    training = {"epochs": FINISHED + 2, "imageSize": 32, "batch": 8, "seed": 3, "timeLimit": 10**6, "args": ARGS}
    attempt = start("limited", TOTAL, str(slow), training=training)
    code, report = attempt.ended()

    assert (code, report["epoch"]) == (0, FINISHED + 2), attempt.log
    assert "time limit" not in report["message"]


def test_the_data_may_differ(start: Callable[..., Attempt], finished: Path, shared: Path) -> None:
    """As many batches of fewer images: the finished run's images and random numbers are not used."""
    fewer = make_dataset("detect", shared / "fewer", train=20, val=8)
    attempt = start("other-data", FINISHED + 1, str(finished), dataset={"path": str(fewer)})
    code, report = attempt.ended()

    assert (code, report["epoch"]) == (0, FINISHED + 1), attempt.log
    rows = figures(shared / "other-data")
    assert rows[:FINISHED] == figures(finished)
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, FINISHED + 2)]


def test_the_number_of_epochs_is_the_total(start: Callable[..., Attempt], finished: Path) -> None:
    code, report = start("refused", FINISHED, str(finished)).ended()

    assert (code, report["reason"]) == (14, "ConfigInvalid")
    assert f"training.epochs is {FINISHED}, and the run in resumeFrom {finished} has {FINISHED}" in report["message"]


def test_a_checkpoint_of_a_later_job_is_not_continued(
    start: Callable[..., Attempt], finished: Path, shared: Path
) -> None:
    reused = shared / "reused"
    shutil.copytree(finished, reused)
    (reused / "checkpoint" / "job.json").write_text(json.dumps({"uid": "later"}))
    code, report = start("mixed", TOTAL, str(reused)).ended()

    assert (code, report["reason"]) == (14, "ConfigInvalid")
    assert f"{reused}/checkpoint/resume.pt is missing, damaged or of a later job" in report["message"]
