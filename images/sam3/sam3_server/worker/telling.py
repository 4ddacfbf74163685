"""From the instances of every prompt to the answer: duplicates removed, each in the form that was asked for."""

import numpy as np
from pycocotools import mask as coco

from sam3_server.worker import shapes
from sam3_server.worker.masks import Instance, Instances
from sam3_server.worker.protocol import Detection, Prompt, PromptResult, Query


def needs_masks(query: Query) -> bool:
    """Whether masks have to be computed: boxes alone cost far less."""
    return query.form != "box" or query.labels == "polygon"


def tell(query: Query, found: list[Instances], width: int, height: int) -> tuple[list[PromptResult], str | None]:
    """Return one result per prompt, and the content of a label file if it was asked for."""
    kept = found if query.nms_iou is None else without_duplicates(found, query.nms_iou)
    results: list[PromptResult] = []
    lines: list[str] = []
    for prompt, instances in zip(query.prompts, kept, strict=True):
        detections = []
        for instance in instances.found:
            detection, line = _one(query, prompt, instance, width, height)
            detections.append(detection)
            lines += [f"{line}\n"] if line else []
        results.append(
            PromptResult(prompt=prompt.name, class_id=prompt.class_id, detections=detections, omitted=instances.omitted)
        )
    return results, "".join(lines) if query.labels else None


def _one(query: Query, prompt: Prompt, instance: Instance, width: int, height: int) -> tuple[Detection, str | None]:
    outlined = instance.mask is not None and "polygon" in (query.form, query.labels)
    parts = shapes.outlines(instance.mask) if outlined and instance.mask is not None else []
    detection = Detection(box=instance.box, score=instance.score)
    if query.form == "rle":
        detection.mask = instance.mask
    elif query.form == "polygon":
        detection.polygons = shapes.polygons(parts)
    match query.labels:
        case "box":
            return detection, shapes.box_label(prompt.class_id, instance.box, width, height)
        case "polygon":
            return detection, shapes.polygon_label(prompt.class_id, parts, width, height)
        case None:
            return detection, None


def without_duplicates(found: list[Instances], most_iou: float) -> list[Instances]:
    """Return the instances without those that a better one, of any prompt, covers by more than `most_iou`.

    Masks are compared where there are any, else boxes.
    """
    every = [instance for instances in found for instance in instances.found]
    kept = {id(every[index]) for index in _best(every, most_iou)}
    return [Instances([each for each in of.found if id(each) in kept], of.omitted) for of in found]


def _best(every: list[Instance], most_iou: float) -> list[int]:
    if not every:
        return []
    rles = [instance.mask.model_dump() for instance in every if instance.mask is not None]
    corners = np.array([instance.box for instance in every], np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    overlap = coco.iou(rles or boxes, rles or boxes, [0] * len(every))
    kept: list[int] = []
    for index in sorted(range(len(every)), key=lambda index: -every[index].score):
        if not any(overlap[index, better] > most_iou for better in kept):
            kept.append(index)
    return kept
