"""A data set that is right, and the kinds of ways in which it may vary (`variants_…`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from yolo_trainer.inputs.image_lists import label_name
from yolo_trainer.job.spec import Task

BOX = "1 0.5 0.5 0.2 0.2\n"
COUNTS = {"train": 3, "val": 2}
LABELS: dict[str, str] = {
    "detect": BOX,
    "segment": "1 0.1 0.1 0.9 0.1 0.5 0.9\n",
    "obb": "1 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n",
    "pose": "1 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 2\n",
}


class Set:
    """A right data set with 3 images in `train` and 2 in `val`, of which a variant changes something."""

    def __init__(self, folder: Path, task: Task = "detect") -> None:
        self.folder = folder
        self.written = False
        self.description: dict[str, Any] = {"train": "images/train", "val": "images/val", "names": ["zero", "one"]}
        if task == "pose":
            self.description["kpt_shape"] = [2, 3]
        for split, count in COUNTS.items():
            for number in range(count):
                image = self.image(split, number)
                if task == "classify":
                    image = self.image(f"{split}/{number % 2}", number, root="")
                else:
                    self.label(image, LABELS[task])

    def file(self, name: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def image(self, split: str, number: int | str, suffix: str = "png", root: str = "images") -> Path:
        file = self.file(f"{root}/{split}/{number}.{suffix}".lstrip("/"))
        drawing(number if isinstance(number, int) else 7).save(file)
        return file

    def label(self, image: Path, text: str | bytes) -> None:
        file = Path(label_name(str(image)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def first(self, split: str = "train") -> Path:
        return self.folder / "images" / split / "0.png"

    def write(self) -> None:
        """Write the description, unless a change has done so."""
        if not self.written and not (self.folder / "data.yaml").exists():
            self.written = True
            (self.folder / "data.yaml").write_text(yaml.safe_dump(self.description, sort_keys=False))


def drawing(seed: int = 0, edge: int = 32) -> Image.Image:
    """Return a small image that differs by its seed."""
    return Image.linear_gradient("L").resize((edge, edge)).rotate(seed * 15).convert("RGB")


Change = Callable[[Set], object]


@dataclass(frozen=True)
class Variant:
    """One variant: what is changed, and where plain Ultralytics does another thing, which chosen difference that is."""

    name: str
    change: Change
    task: Task = "detect"
    differs: str | None = None
    says: str = ""
    """Part of our sentence, where a chosen difference is a refusal."""
    data: str = ""
    """What is given as the data set, below the folder; an archive is given by its URI."""
    single_class: bool = False

    def make(self, folder: Path) -> Path:
        """Write the data set into a folder, and return what is given."""
        made = Set(folder, self.task)
        self.change(made)
        if self.task != "classify":
            made.write()
        return folder / self.data


def describe(**fields: Any) -> Change:
    """Change fields of the description; None removes one."""

    def change(made: Set) -> None:
        made.description |= fields
        made.description = {key: value for key, value in made.description.items() if value is not REMOVED}

    return change


REMOVED: Any = object()


def text(content: str | bytes, name: str = "data.yaml") -> Change:
    """Write a file."""
    return lambda made: made.file(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def both(*changes: Change) -> Change:
    """Do one change after another."""

    def change(made: Set) -> None:
        for each in changes:
            each(made)

    return change


def named(kind: str, variants: Iterable[Variant]) -> list[Variant]:
    """Put the kind before the variants' names."""
    return [Variant(f"{kind}: {v.name}", v.change, v.task, v.differs, v.says, v.data, v.single_class) for v in variants]
