"""From the model's raw output to boxes, scores and run-length encoded masks, a few masks at a time.

The stock `post_process_instance_segmentation` upsamples every mask to the image's size at once and in 64-bit integers,
and the caching allocator keeps that peak: 4.5 GB for 22 instances at 810 x 1080 (ultralytics#26196). Here each chunk is
upsampled, thresholded, moved to the host and encoded before the next; the masks are the same, bit for bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco

from sam3_server.worker.protocol import Box, Mask

MASKS_PER_CHUNK = 8
PIXELS_PER_CHUNK = 64_000_000
MASK_THRESHOLD = 0.5


class NonFiniteError(Exception):
    """The model's numbers overflowed."""


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


def instances(outputs: Any, threshold: float, height: int, width: int, most: int, with_masks: bool) -> Instances:
    """Return what scores above `threshold` on the one image in `outputs`: of more than `most` instances, the best.

    Raises:
        NonFiniteError: scores, boxes or masks hold infinities or NaN.

    """
    scores = outputs.pred_logits[0].sigmoid() * outputs.presence_logits[0].sigmoid()
    boxes = outputs.pred_boxes[0].float() * torch.tensor([width, height, width, height], device=scores.device)
    _require_finite(outputs.pred_logits, outputs.presence_logits, outputs.pred_masks, boxes)
    above = (scores > threshold).nonzero().squeeze(1)
    keep = above[scores[above].topk(most).indices.sort().values] if len(above) > most else above
    masks = encode(outputs.pred_masks[0][keep], height, width) if with_masks else [None] * len(keep)
    rows = zip(boxes[keep].tolist(), scores[keep].tolist(), masks, strict=True)
    found = [Instance((box[0], box[1], box[2], box[3]), score, mask) for box, score, mask in rows]
    return Instances(found, omitted=len(above) - len(keep))


def encode(logits: torch.Tensor, height: int, width: int) -> list[Mask]:
    """Upsample mask logits of shape (n, h, w) to `height` x `width`, and encode them."""
    size = max(1, min(MASKS_PER_CHUNK, PIXELS_PER_CHUNK // (height * width)))
    return [mask for chunk in torch.split(logits, size) if len(chunk) for mask in _encode_chunk(chunk, height, width)]


def _encode_chunk(logits: torch.Tensor, height: int, width: int) -> list[Mask]:
    masks = torch.nn.functional.interpolate(
        logits.sigmoid().unsqueeze(0), size=(height, width), mode="bilinear", align_corners=False
    ).squeeze(0)
    bits = (masks > MASK_THRESHOLD).to(torch.uint8).cpu().numpy()
    encoded = coco.encode(np.asfortranarray(bits.transpose(1, 2, 0)))
    return [Mask(size=(height, width), counts=rle["counts"].decode("ascii")) for rle in encoded]


def _require_finite(*tensors: torch.Tensor) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise NonFiniteError
