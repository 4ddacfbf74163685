"""Data as it comes, trained on by the real program: all of it, or none, and nothing of it is written."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.trainer_datasets import make_dataset
from devcluster.programs.trainer import Attempt

TRAIN, VAL = 24, 6
TRAILER = b"\0\0SEFH" + bytes(300) + b"SEFT"
"""What a phone writes behind the end of a JPEG."""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Attempt]]:
    attempts: list[Attempt] = []

    def begin(job: dict[str, Any], **options: Any) -> Attempt:
        attempts.append(Attempt(tmp_path / f"attempt-{len(attempts)}", job, TMPDIR=str(tmp_path), **options))
        return attempts[-1]

    yield begin
    for attempt in attempts:
        attempt.process.kill()
        attempt.process.wait()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Images as phones leave them: JPEGs, most of them with bytes behind their end mark, and one without a label."""
    folder = make_dataset("detect", tmp_path / "data", TRAIN, VAL)
    for number, image in enumerate(sorted((folder / "images").glob("*/*.png"))):
        photograph = image.with_suffix(".jpg")
        Image.open(image).save(photograph, quality=95)
        if number % 4:
            photograph.write_bytes(photograph.read_bytes() + TRAILER)
        image.unlink()
    (folder / "labels" / "train" / "3.txt").unlink()
    return folder


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def job_for(folder: Path, output: Path, task: str = "detect") -> dict[str, Any]:
    args = {"workers": 0, "plots": False}
    return {
        "job": {"namespace": "vision", "name": "phone", "uid": "uid-1"},
        "model": "yolo26n.yaml",
        "task": task,
        "dataset": {"path": str(folder)},
        "training": {"epochs": 1, "imageSize": 64, "batch": 8, "args": args},
        "output": {"path": str(output)},
    }


def read_only(folder: Path) -> list[str]:
    """Return a prefix for commands that see a folder read-only."""
    for unshare in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        prefix = [*unshare, "sh", "-c", READ_ONLY, str(folder)]
        tried = subprocess.run([*prefix, "touch", str(folder / "written")], capture_output=True, text=True, check=False)
        if "Read-only file system" in tried.stderr:
            return prefix
    pytest.skip("nothing can be mounted here: run as root, or allow mount namespaces to users")


@pytest.mark.parametrize("mounted", ["read-only", "writable"])
def test_every_photograph_is_trained_on_and_none_is_written(
    start: Callable[..., Attempt], photographs: Path, tmp_path: Path, mounted: str
) -> None:
    prefix = read_only(photographs) if mounted == "read-only" else []
    before, output = state_of(photographs), tmp_path / "output"
    job = job_for(photographs, output)

    code, prepared = start(job, command="prepare", prefix=prefix).ended()
    assert code == 0, prepared
    assert prepared["prepared"]["images"] == {"train": TRAIN, "val": VAL}
    assert prepared["message"].endswith(f"1 of {TRAIN} train images have no label file")
    assert list((output / "dataset" / "labels").glob("*.cache"))

    attempt = start(job, prefix=prefix)
    code, report = attempt.ended()
    assert code == 0, attempt.log
    assert f"on cpu: {TRAIN} " in attempt.log
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["dataset"]["images"] == {"train": TRAIN, "val": VAL}
    assert state_of(photographs) == before
    assert not (output / "dataset").exists(), "what only an unfinished job needs is removed"
    assert report["reason"] == "Completed"


def test_data_that_changes_before_the_training_is_refused_by_name(
    start: Callable[..., Attempt], photographs: Path, tmp_path: Path
) -> None:
    job = job_for(photographs, tmp_path / "output")
    assert start(job, command="prepare").ended()[0] == 0
    image = photographs / "images" / "train" / "5.jpg"
    image.write_bytes(b"half an upload")

    code, report = start(job).ended()

    assert (code, report["reason"]) == (13, "DatasetInvalid")
    assert report["message"].startswith(
        f"train had {TRAIN} images when the data set was checked, has {TRAIN} now, and 23"
    )
    assert str(image) in report["message"]


def test_coco_json_is_trained_on(start: Callable[..., Attempt], photographs: Path, tmp_path: Path) -> None:
    (photographs / "data.yaml").unlink()
    for split in ("train", "val"):
        images = sorted((photographs / "images" / split).iterdir())
        content = {
            "images": [
                {"id": number, "file_name": image.name, "width": 64, "height": 64}
                for number, image in enumerate(images)
            ],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "bbox": [8, 8, 40, 40]}
                for number in range(len(images))
            ],
            "categories": [{"id": 1, "name": "digit"}],
        }
        (photographs / f"instances_{split}.json").write_text(json.dumps(content))
    before = state_of(photographs)

    attempt = start(job_for(photographs, tmp_path / "output"))
    code, _ = attempt.ended()

    assert code == 0, attempt.log
    assert f"on cpu: {TRAIN} " in attempt.log
    assert state_of(photographs) == before
