"""Small data sets for every task, from the same real handwriting: one digit to an image, in one class.

Outlines, corners and keypoints are found in the ink itself, as a person would draw them.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

Pixels = NDArray[np.uint8]
EDGE = 64
"""Width and height of an image in pixels."""


def make_dataset(task: str, folder: Path, train: int = 48, val: int = 12) -> Path:
    """Write a data set for a task and return its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    bunch, rng = load_digits(), np.random.default_rng(0)
    chosen = rng.permutation(np.flatnonzero(bunch.target < 2))
    for number, index in enumerate(chosen[: train + val]):
        split = "train" if number < train else "val"
        image, ink = _written(bunch.images[index], rng)
        if task == "classify":
            _save(image, folder / split / str(bunch.target[index]) / f"{number}.png")
            continue
        _save(image, folder / "images" / split / f"{number}.png")
        label = folder / "labels" / split / f"{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(" ".join(["0", *(f"{value:.6f}" for value in _LABELS[task](ink))]) + "\n")
    if task != "classify":
        description: dict[str, Any] = {"train": "images/train", "val": "images/val", "names": ["digit"]}
        if task == "pose":
            description["kpt_shape"] = [2, 3]
        (folder / "data.yaml").write_text(yaml.safe_dump(description))
    return folder


def _written(scan: NDArray[np.float64], rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Return an image of a scan on paper, and where its ink is."""
    size = int(rng.integers(EDGE // 2, EDGE - 8))
    left, top = (int(rng.integers(EDGE - size)) for _ in range(2))
    strength = np.zeros((EDGE, EDGE))
    ink = Image.fromarray((scan * 15.9).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    strength[top : top + size, left : left + size] = np.asarray(ink) / 255
    paper = rng.normal(215, 8, (EDGE, EDGE)) * (1 - strength)
    return np.clip(paper, 0, 255).astype(np.uint8), (strength > 0.4).astype(np.uint8)


def _save(image: Pixels, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).convert("RGB").save(file)


def _box(ink: Pixels) -> list[float]:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return [(left + right) / 2 / EDGE, (top + bottom) / 2 / EDGE, (right - left) / EDGE, (bottom - top) / EDGE]


def _outline(ink: Pixels) -> list[float]:
    hull = cv2.convexHull(np.argwhere(ink)[:, ::-1].astype(np.int32))[:, 0]
    return [float(value) / EDGE for value in hull.flatten()]


def _corners(ink: Pixels) -> list[float]:
    points = np.argwhere(ink)[:, ::-1].astype(np.float32)
    return [float(np.clip(value / EDGE, 0, 1)) for value in cv2.boxPoints(cv2.minAreaRect(points)).flatten()]


def _keypoints(ink: Pixels) -> list[float]:
    """Return the box, and the highest and the lowest point of the ink, both visible."""
    points = np.argwhere(ink)
    ends = [float(value) for row, column in (points[0], points[-1]) for value in (column / EDGE, row / EDGE, 2)]
    return [*_box(ink), *ends]


_LABELS: dict[str, Callable[[Pixels], list[float]]] = {
    "detect": _box,
    "segment": _outline,
    "obb": _corners,
    "pose": _keypoints,
}
