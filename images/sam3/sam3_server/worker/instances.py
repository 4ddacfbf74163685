"""Instances on their way from the model to the answer. Needs no PyTorch, so the encoder has a small process.

worker   Found ──► pack ──► bytes, which the server forwards unread
encoder                     unpack ──► Instances ──► the answer
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco
from pydantic import BaseModel

from sam3_server.worker.protocol import Box, Mask

Runs = npt.NDArray[np.uint32]
SIZE = struct.Struct("!I")


@dataclass(frozen=True)
class Found:
    """What the model found for one prompt, in its order: box corners in pixels, scores, and masks if asked for.

    A mask is its run lengths, column by column, beginning with a run of zeros; `omitted` is how many more there were.
    """

    boxes: list[Box]
    scores: list[float]
    masks: list[Runs] | None
    omitted: int


@dataclass(frozen=True)
class Instance:
    """One instance: box corners in pixels, score, and mask if one was asked for."""

    box: Box
    score: float
    mask: Mask | None


@dataclass(frozen=True)
class Instances:
    """The instances of one prompt in the model's order, and how many were left out for being too many."""

    found: list[Instance]
    omitted: int


class _Prompt(BaseModel):
    boxes: list[Box]
    scores: list[float]
    runs: list[int] | None
    omitted: int


class Head(BaseModel):
    """What is known of all that was found on one image, whose size is in pixels."""

    width: int
    height: int
    model_seconds: float
    image_id: str | None = None
    prompts: list[_Prompt] = []


def box_of(runs: Runs, height: int, width: int) -> Box:
    """Return the corners of the box around a mask of this size, in pixels; all are 0 where no pixel is set."""
    x, y, across, down = coco.toBbox(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width))
    return (float(x), float(y), float(x + across), float(y + down))


def pack(head: Head, found: list[Found]) -> bytes:
    """Return a head and what was found for each prompt as bytes."""
    head.prompts = [
        _Prompt(
            boxes=each.boxes,
            scores=each.scores,
            runs=None if each.masks is None else [len(mask) for mask in each.masks],
            omitted=each.omitted,
        )
        for each in found
    ]
    written = head.model_dump_json().encode()
    runs = [mask.astype("<u4", copy=False).tobytes() for each in found for mask in each.masks or []]
    return b"".join((SIZE.pack(len(written)), written, *runs))


def unpack(data: bytes | bytearray, check: Callable[[str], None] = lambda _: None) -> tuple[Head, list[Instances]]:
    """Return what was packed, with masks in COCO's compressed encoding; `check` is called before each of them."""
    (size,) = SIZE.unpack_from(data)
    head = Head.model_validate_json(bytes(data[SIZE.size : SIZE.size + size]))
    runs = np.frombuffer(data, "<u4", offset=SIZE.size + size)
    every = sum(len(prompt.boxes) for prompt in head.prompts)
    done = start = 0
    instances: list[Instances] = []
    for prompt in head.prompts:
        masks: list[Mask | None] = []
        for length in prompt.runs or []:
            check(f"{done} of {every} masks were packed")
            masks.append(_mask(runs[start : start + length], head))
            done, start = done + 1, start + length
        rows = zip(prompt.boxes, prompt.scores, masks or [None] * len(prompt.boxes), strict=True)
        instances.append(Instances([Instance(*row) for row in rows], prompt.omitted))
    return head, instances


def _mask(runs: Runs, head: Head) -> Mask:
    rle = coco.frPyObjects({"size": [head.height, head.width], "counts": runs}, head.height, head.width)
    return Mask(size=(head.height, head.width), counts=rle["counts"].decode("ascii"))
