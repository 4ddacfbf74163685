"""A valid job with a valid data set, in which tests break one thing."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import gpu_memory
from yolo_trainer.errors import TrainerError
from yolo_trainer.inputs.image_lists import label_name
from yolo_trainer.job.loader import load_job
from yolo_trainer.prepare import prepare
from yolo_trainer.training import offline

BOX = "1 0.5 0.5 0.2 0.2\n"
Job = dict[str, Any]


class Case:
    """A valid job and data set, in which one thing is then broken."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        for split, count in (("train", 3), ("val", 2)):
            for number in range(count):
                self.image(split, number)
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
        self.yaml: str | bytes | None = None
        self.folder = folder

    def image(self, split: str, number: int, edge: int = 32, suffix: str = "png") -> Path:
        file = self.data / "images" / split / f"{number}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((edge, edge), 50).convert("RGB").save(file)
        return file

    def label(self, split: str, number: int, text: str | bytes) -> None:
        file = Path(label_name(str(self.data / "images" / split / f"{number}.png")))
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
        file = self.image("train", 0, 64, suffix)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])

    def archive(self, name: str = "data.zip", entry: str = "readme.txt") -> str:
        with zipfile.ZipFile(self.folder / name, "w") as packed:
            packed.writestr(entry, "x")
        return (self.folder / name).as_uri()

    def packed(self, image: bytes | None = None) -> str:
        """Pack the data set, with something in place of an image, and return its URI."""
        with zipfile.ZipFile(self.folder / "mine.zip", "w") as packed:
            packed.writestr("data.yaml", yaml.safe_dump(self.description))
            for file in sorted(self.data.rglob("*.*")):
                packed.write(file, str(file.relative_to(self.data)))
            if image is not None:
                packed.writestr("images/train/9.png", image)
        return (self.folder / "mine.zip").as_uri()

    def refusal(self, seal: Callable[[], None] = offline.import_ultralytics) -> TrainerError:
        """Prepare the job without a GPU, and return why it is refused."""
        content = yaml.safe_dump(self.description) if self.yaml is None else self.yaml
        (self.data / "data.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        file = self.folder / "job.json"
        file.write_text(json.dumps(self.job) if self.text is None else self.text)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainerError) as caught:
            patch.setattr(gpu_memory, "read", _no_gpu)
            patch.setattr(gpu_memory, "open_device", _no_gpu)
            prepare(load_job(file), 1, seal)
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


def finished(case: Case, **manifest: Any) -> None:
    """Have the job continue a finished run, which has only a manifest."""
    run = case.folder / "run"
    run.mkdir()
    content = {
        "job": {"uid": "finished"}, "model": "yolo26n.yaml", "task": "detect", "epochs": 6, "checkpointKept": True,
        **manifest,
    }  # fmt: skip
    (run / "manifest.json").write_text(json.dumps(content))
    (run / "results.csv").touch()
    case.job["resumeFrom"] = str(run)
    case.job["training"]["epochs"] = 10


def weights(case: Case, content: bytes) -> None:
    (case.data / "my.pt").write_bytes(content)
    case.job["model"] = "my.pt"


def _no_gpu(*_: object) -> None:
    raise AssertionError("the GPU was touched")
