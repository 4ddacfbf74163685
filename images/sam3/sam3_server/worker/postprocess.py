"""From the instances of every prompt to the answer: duplicates removed, each in the requested form."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from sam3_server.worker import shapes
from sam3_server.worker.instances import Instance, Instances
from sam3_server.worker.protocol import Detection, ObjectPrompt, Prompt, PromptResult, Query

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def build_results(
    query: Query, found: list[Instances], width: int, height: int, check: Callable[[str], None] = lambda _: None
) -> tuple[list[PromptResult], str | None]:
    """Return one result per prompt and per object, and the content of a label file if it was requested.

    `check` is called before each instance; what it raises ends the work.
    """
    kept = found if query.nms_iou is None else without_duplicates(found, query.nms_iou, check)
    every, done = sum(len(instances.found) for instances in kept), 0
    results: list[PromptResult] = []
    lines: list[str] = []
    for prompt, instances in zip(query.parts, kept, strict=True):
        detections, labels = [], []
        for instance in instances.found:
            check(f"{done} of {every} instances were written")
            done += 1
            detection, line = _convert(query, prompt, instance, width, height)
            detections.append(detection)
            labels += [] if line is None else [f"{line}\n"]
        lines += labels
        results.append(
            PromptResult(
                prompt=prompt.name,
                class_id=prompt.class_id,
                detections=detections,
                omitted=instances.omitted,
                unlabelled=len(detections) - len(labels) if query.labels else None,
            )
        )
    return results, "".join(lines) if query.labels else None


def _convert(
    query: Query, prompt: Prompt | ObjectPrompt, instance: Instance, width: int, height: int
) -> tuple[Detection, str | None]:
    outlined = instance.mask is not None and "polygon" in (query.form, query.labels)
    shape = shapes.outline(instance.mask) if outlined and instance.mask is not None else None
    detection = Detection(box=instance.box, score=instance.score)
    if query.form == "rle":
        detection.mask = instance.mask
    elif query.form == "polygon":
        detection.polygons = shapes.polygons(shape)
    match query.labels:
        case "box":
            return detection, shapes.box_label(prompt.class_id, instance.box, width, height)
        case "polygon":
            return detection, shapes.polygon_label(prompt.class_id, shape, width, height)
        case None:
            return detection, None


def without_duplicates(
    found: list[Instances], most_iou: float, check: Callable[[str], None] = lambda _: None
) -> list[Instances]:
    """Return the instances without those that a better one, of any prompt, covers by more than `most_iou`.

    Masks are compared where there are any, else boxes.
    """
    every = [instance for instances in found for instance in instances.found]
    kept = {id(every[index]) for index in _best(every, most_iou, check)}
    return [Instances([each for each in of.found if id(each) in kept], of.omitted) for of in found]


def _best(every: list[Instance], most_iou: float, check: Callable[[str], None]) -> list[int]:
    if not every:
        return []
    rles = [instance.mask.model_dump() for instance in every if instance.mask is not None]
    corners = np.array([instance.box for instance in every], np.float64)
    boxes = coco.toBbox(rles) if rles else np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept: list[int] = []
    for done, index in enumerate(sorted(range(len(every)), key=lambda index: -every[index].score)):
        check(f"{done} of {len(every)} instances were compared")
        near = [kept[place] for place in np.flatnonzero(_touching(boxes[index], boxes[kept]))]
        one, others = (
            ([rles[index]], [rles[each] for each in near]) if rles else (boxes[index : index + 1], boxes[near])
        )
        if not near or coco.iou(one, others, [0] * len(near)).max() <= most_iou:
            kept.append(index)
    return kept


def _touching(box: Floats, others: Floats) -> Bools:
    """Return which boxes (x, y, width, height) overlap one: comparing masks takes long, and few boxes overlap."""
    corner = box[:2] + box[2:]
    return np.asarray(((others[:, :2] < corner) & (box[:2] < others[:, :2] + others[:, 2:])).all(axis=1), np.bool_)
