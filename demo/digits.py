"""A small data set in YOLO format, made of real handwriting, that a small detector learns in a minute or two on a CPU.

The digits are scikit-learn's copy of the UCI handwritten digits (1,797 scans, shipped inside the package, so nothing is
downloaded). Each image has several of them, scaled and placed at random without overlap. Scans are shared out
between the splits, so that a validation image has only handwriting that is in no training image. The same
arguments always write the same bytes.

    python -m demo.digits /data/digits
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

CLASSES = 10
VAL_SHARE = 0.25
"""Share of the scans kept for validation."""
DIGITS_PER_IMAGE = (3, 6)
SIZE_RANGE = (0.2, 0.34)
"""Height of a digit as a share of the image's."""
PLACING_TRIES = 40


@dataclass(frozen=True)
class Box:
    """A digit's place in pixels, from its left and upper edge."""

    left: int
    top: int
    width: int
    height: int

    def overlaps(self, other: Box) -> bool:
        """Say whether the two share a pixel."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )

    def label(self, digit: int, image_size: int) -> str:
        """Return the YOLO label line: class, centre, width and height, as shares of the image."""
        x, y = (self.left + self.width / 2) / image_size, (self.top + self.height / 2) / image_size
        return f"{digit} {x:.6f} {y:.6f} {self.width / image_size:.6f} {self.height / image_size:.6f}"


def make_digits(
    path: Path | str, train: int = 320, val: int = 64, image_size: int = 128, seed: int = 0, classes: int = CLASSES
) -> Path:
    """Write the data set and return its `data.yaml`.

    `train` and `val` count images, `image_size` is their edge in pixels, and `classes` limits the digits to those
    below it. Raises ValueError for counts or sizes that make no data set. An older data set there is replaced.
    """
    if train < 1 or val < 1 or image_size < 32 or not 1 <= classes <= CLASSES:
        raise ValueError("train and val must be at least 1, image_size at least 32, and classes from 1 to 10")
    root = Path(path)
    rng = np.random.default_rng(seed)
    scans, digits = _scans(rng, classes)
    first_train = round(len(scans) * VAL_SHARE)
    _write_split(root, "train", train, image_size, scans[first_train:], digits[first_train:], rng)
    _write_split(root, "val", val, image_size, scans[:first_train], digits[:first_train], rng)
    names = {digit: str(digit) for digit in range(classes)}
    description = {"path": ".", "train": "images/train", "val": "images/val", "names": names}
    (root / "data.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return root / "data.yaml"


def _scans(rng: np.random.Generator, classes: int) -> tuple[list[Pixels], NDArray[np.int64]]:
    """Return the scans, shuffled and cropped to the ink so that a box is as tight as a person would draw it."""
    from sklearn.datasets import load_digits  # takes a second, which only those who call this should wait for

    bunch = load_digits()
    chosen = rng.permutation(np.flatnonzero(bunch.target < classes))
    return [_crop(bunch.images[index]) for index in chosen], bunch.target[chosen]


def _crop(scan: NDArray[np.float64]) -> Pixels:
    rows, columns = np.flatnonzero(scan.any(axis=1)), np.flatnonzero(scan.any(axis=0))
    ink = scan[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(ink * (255 / 16), dtype=np.uint8)


def _write_split(
    root: Path,
    split: str,
    count: int,
    image_size: int,
    scans: list[Pixels],
    digits: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    images, labels = root / "images" / split, root / "labels" / split
    for folder in (images, labels):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number in range(count):
        paper = rng.normal(215, 8, (image_size, image_size))
        lines = []
        for index, box in _placed(scans, image_size, rng):
            _write_ink(paper, scans[index], box, rng)
            lines.append(box.label(int(digits[index]), image_size))
        image = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)).convert("RGB")
        image.save(images / f"{number:04d}.png")
        (labels / f"{number:04d}.txt").write_text("\n".join(lines) + "\n")


def _placed(scans: list[Pixels], image_size: int, rng: np.random.Generator) -> Iterator[tuple[int, Box]]:
    """Choose scans and places that do not overlap; a digit that finds no room is left out."""
    boxes: list[Box] = []
    for _ in range(rng.integers(*DIGITS_PER_IMAGE, endpoint=True)):
        index = int(rng.integers(len(scans)))
        for _ in range(PLACING_TRIES):
            box = _random_box(scans[index], image_size, rng)
            if not any(box.overlaps(other) for other in boxes):
                boxes.append(box)
                yield index, box
                break


def _random_box(scan: Pixels, image_size: int, rng: np.random.Generator) -> Box:
    height = round(image_size * rng.uniform(*SIZE_RANGE))
    width = max(4, round(height * scan.shape[1] / scan.shape[0]))
    return Box(int(rng.integers(image_size - width)), int(rng.integers(image_size - height)), width, height)


def _write_ink(paper: NDArray[np.float64], scan: Pixels, box: Box, rng: np.random.Generator) -> None:
    ink = Image.fromarray(scan).resize((box.width, box.height), Image.Resampling.BICUBIC)
    strength = np.asarray(ink, dtype=np.float64) / 255 * rng.uniform(0.75, 1.0)
    region = paper[box.top : box.top + box.height, box.left : box.left + box.width]
    region *= 1 - strength


def main() -> None:
    """Write the data set from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.digits", description=make_digits.__doc__)
    parser.add_argument("path", type=Path, help="folder to write to; it is created")
    parser.add_argument("--train", type=int, default=320, help="training images (default %(default)s)")
    parser.add_argument("--val", type=int, default=64, help="validation images (default %(default)s)")
    parser.add_argument("--image-size", type=int, default=128, help="edge of an image in pixels (default %(default)s)")
    parser.add_argument("--classes", type=int, default=CLASSES, help="how many of the ten digits (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another number gives another data set (default %(default)s)"
    )
    options = parser.parse_args()
    print(make_digits(options.path, options.train, options.val, options.image_size, options.seed, options.classes))


if __name__ == "__main__":
    main()
