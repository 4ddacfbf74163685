"""What labelling by words costs and is worth: `yolo-trainer label` against a plain loop, and against true labels.

    python -m bench.labelling [--images 1000] [--train]

The server is scripted: it needs so many milliseconds for a request, one at a time as a GPU does, and with `--train` it
errs at a seeded rate. Training: the same model on true labels and on those of the erring server, both validated on the
truth.
"""

import argparse
import base64
import json
import random
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from devcluster.programs.trainer import Attempt
from devcluster.scripted.segmenter import COLOURS, Errors, ScriptedSegmenter, draw_image
from yolo_trainer.labelling.label import label
from yolo_trainer.labelling.request import LabelRequest

_REQUEST_SECONDS = 0.02
_PARALLEL = 4
_EDGE = 160
_RATE = 0.05
_PROMPTS = [{"text": name, "class": name} for name in COLOURS]
Truth = dict[str, list[tuple[str, list[float]]]]


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--train", action="store_true", help="compare training runs instead of speed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        measure = compare_training if options.train else compare_speed
        print(json.dumps(measure(folder, options.images), indent=2))


def compare_speed(folder: Path, images: int) -> dict[str, float]:
    """Return images per second of a plain loop of requests, and of a labelling without its second pass, in turns."""
    gpu = Lock()

    def compute() -> None:
        with gpu:
            time.sleep(_REQUEST_SECONDS)

    photos, _ = _photos(folder, images)
    segmenter = ScriptedSegmenter(before_answer=compute)
    try:
        plain, labelled = [], []
        for turn in range(2):
            plain.append(_plain_loop(segmenter.url, photos))
            began = time.perf_counter()
            label(_request(photos, folder / f"labelled-{turn}", segmenter.url, second_pass=False))
            labelled.append(time.perf_counter() - began)
    finally:
        segmenter.close()
    return {
        "images": images,
        "plain loop, images per second": round(images / min(plain), 1),
        "labelling, images per second": round(images / min(labelled), 1),
    }


def compare_training(folder: Path, images: int) -> dict[str, Any]:
    """Return the mAP50 of training on true labels and on labels of an erring server, both validated on the truth."""
    photos, truth = _photos(folder, images)
    exact, erring = ScriptedSegmenter(), ScriptedSegmenter(Errors(missed=_RATE, shifted=_RATE, renamed=_RATE))
    try:
        label(_request(photos, folder / "true", exact.url, second_pass=False))
        label(_request(photos, folder / "labelled", erring.url, second_pass=True))
    finally:
        exact.close()
        erring.close()
    for part in ("labels", "images"):  # both are validated on the truth
        shutil.rmtree(folder / "labelled" / part / "val")
        shutil.copytree(folder / "true" / part / "val", folder / "labelled" / part / "val")
    return {
        "images": images,
        "objects": sum(map(len, truth.values())),
        "mAP50, true labels": _trained(folder / "true", folder / "runs" / "true"),
        "mAP50, labels with errors": _trained(folder / "labelled", folder / "runs" / "labelled"),
    }


def _photos(folder: Path, count: int) -> tuple[Path, Truth]:
    photos, rng = folder / "photos", random.Random(1)
    photos.mkdir()
    names = [f"{number}.jpg" for number in range(count)]
    return photos, {name: draw_image(photos / name, rng, _EDGE) for name in names}


def _request(photos: Path, output: Path, server: str, *, second_pass: bool) -> LabelRequest:
    content = {"images": photos, "output": output, "server": server, "prompts": _PROMPTS, "parallel": _PARALLEL}
    return LabelRequest.model_validate(content | {"secondPass": second_pass})


def _plain_loop(server: str, photos: Path) -> float:
    """Return the seconds of requests for all images, from as many threads, and drop the answers."""

    def ask(file: Path) -> None:
        image = base64.b64encode(file.read_bytes()).decode()
        body = json.dumps({"image": image, "prompts": [{"text": name} for name in COLOURS], "format": "polygon"})
        with urllib.request.urlopen(f"{server}/api/v1/segment", data=body.encode()) as answer:
            answer.read()

    began = time.perf_counter()
    files: Sequence[Path] = sorted(photos.iterdir())
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(ask, files))
    return time.perf_counter() - began


def _trained(dataset: Path, place: Path) -> float:
    args = {
        "optimizer": "AdamW",
        "lr0": 0.002,
        "warmup_epochs": 1,
        "nbs": 8,
        "mosaic": 0.0,
        "workers": 0,
        "plots": False,
    }
    training = {"epochs": 12, "imageSize": _EDGE, "batch": 8, "args": args}
    job = {
        "job": {"namespace": "bench", "name": place.name, "uid": place.name},
        "attempt": 1,
        "model": "yolo26n.yaml",
        "task": "detect",
        "dataset": {"path": str(dataset)},
        "training": training,
        "output": {"path": str(place / "output")},
        "gpu": {"uuid": None, "memoryMiB": 1000},
        "hold": None,
    }
    attempt = Attempt(place, job, TMPDIR=str(place))
    code = attempt.process.wait()
    if code:
        raise RuntimeError(f"the training ended with {code}:\n{attempt.log}")
    return float(yaml.safe_load(attempt.word_file.read_text())["metrics"]["mAP50"])


if __name__ == "__main__":
    main()
