"""A folder of labels as a labelling leaves it, without a server: what people may correct."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from yolo_trainer.labelling import earlier
from yolo_trainer.labelling.dataset_folder import write_dataset, write_report
from yolo_trainer.labelling.findings import FoundObject, ImageFindings
from yolo_trainer.labelling.records import Records
from yolo_trainer.labelling.request import LabelRequest

CLASSES = ("scratch", "dent")
WIDTH, HEIGHT = 200, 100
BOXES = {"scratch": (20.0, 20.0, 60.0, 60.0), "dent": (120.0, 30.0, 160.0, 70.0)}


def labelled_request(
    place: Path, images: Sequence[str] = ("a.png", "b.png"), *, job: str = "uid-1", **fields: Any
) -> LabelRequest:
    """Write images with one object of each class; the last one is validated on. Return what was asked."""
    photos, output = place / "photos", place / "labelled"
    for name in images:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(photos / name)
    prompts = [{"text": name, "class": name} for name in CLASSES]
    request = LabelRequest(images=photos, output=output, server="http://sam3", prompts=prompts, **fields)
    Records(output, request.fingerprint)
    objects = tuple(_object(number, BOXES[name]) for number, name in enumerate(CLASSES))
    findings = [ImageFindings(name, WIDTH, HEIGHT, objects) for name in images]
    write_dataset(request, {"train": findings[:-1], "val": findings[-1:]})
    counts = dict.fromkeys(CLASSES, len(images))
    write_report(output, {"objects": counts, "doubtful": 0, "job": job, "digest": earlier.digest(request)})
    return request


def _object(class_id: int, box: tuple[float, float, float, float]) -> FoundObject:
    x1, y1, x2, y2 = box
    return FoundObject(class_id, 0.9, box, ((x1, y1, x2, y1, x2, y2, x1, y2),))


def exported(
    request: LabelRequest, images: dict[str, list[tuple[str, Sequence[float]]]], name: str = "task.json", **change: Any
) -> None:
    """Write a COCO file as a labelling tool exports it: categories sorted by name, and ids of its own.

    `images` has the class and the bbox of each object; `change` replaces fields of all annotations, or sizes of images.
    """
    sizes = {key: change.pop(key) for key in ("width", "height") if key in change}
    folder = request.output / "corrected"
    folder.mkdir(exist_ok=True)
    numbers = {each: number for number, each in enumerate(sorted({*CLASSES, *_named(images)}))}
    annotations = [
        {
            "id": 100 + place,
            "image_id": 7 * number,
            "category_id": numbers[kind],
            "bbox": list(box),
            "segmentation": [_corners(box)],
            "iscrowd": 0,
        }
        | change
        for number, objects in enumerate(images.values())
        for place, (kind, box) in enumerate(objects)
    ]
    document = {
        "images": [
            {"id": 7 * number, "file_name": each, "width": WIDTH, "height": HEIGHT} | sizes
            for number, each in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": each} for each, number in numbers.items()],
    }
    (folder / name).write_text(json.dumps(document))


def _named(images: dict[str, list[tuple[str, Sequence[float]]]]) -> set[str]:
    return {kind for objects in images.values() for kind, _ in objects}


def _corners(box: Sequence[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def nothing_to_import() -> None:
    """Stand for the import of Ultralytics, which a test has already."""
