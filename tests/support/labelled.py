"""Images to label, and what a labelling has written."""

import csv
import random
import subprocess
from pathlib import Path

from devcluster.scripted.segmenter import draw_image

IMAGES = 40
Truth = dict[str, list[tuple[str, list[float]]]]
"""The class and the box (x1, y1, x2, y2, in pixels) of each object, by image."""


def draw(photos: Path, count: int = IMAGES) -> Truth:
    rng = random.Random(7)
    return {f"{number}.png": draw_image(photos / f"{number}.png", rng) for number in range(count)}


def finished(process: "subprocess.Popen[str]", code: int = 0) -> str:
    log = process.communicate(timeout=120)[1]
    assert process.returncode == code, log
    return log


def boxes(labelled: Path) -> dict[str, list[tuple[int, list[float]]]]:
    """Return the class and the box (x1, y1, x2, y2, in shares) of each label, by image."""
    found = {}
    for file in (labelled / "labels").glob("*/*.txt"):
        rows = [list(map(float, line.split())) for line in file.read_text().splitlines()]
        found[f"{file.stem}.png"] = [(int(c), [x - w / 2, y - h / 2, x + w / 2, y + h / 2]) for c, x, y, w, h in rows]
    return found


def listed(place: Path) -> list[dict[str, str]]:
    """Return the rows of the review list."""
    return list(csv.DictReader((place / "labelled" / "review.csv").open()))
