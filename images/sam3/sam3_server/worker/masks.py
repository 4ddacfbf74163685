"""From the model's raw output to boxes, scores and run-length encoded masks, a few masks at a time.

The stock `post_process_instance_segmentation` upsamples every mask to the image's size at once and in 64-bit integers,
and the caching allocator keeps that peak: 4.5 GB for 22 instances at 810 x 1080 (ultralytics#26196). Here each chunk is
upsampled, thresholded, moved to the host and encoded before the next; the masks are the same, bit for bit.
"""

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco

from sam3_server.worker.protocol import Detection, Mask

MASKS_PER_CHUNK = 8
PIXELS_PER_CHUNK = 64_000_000
MASK_THRESHOLD = 0.5


class NonFiniteError(Exception):
    """The model's numbers overflowed."""


def detections(outputs: Any, threshold: float, height: int, width: int) -> list[Detection]:
    """Return the instances of the one image in `outputs` that score above `threshold`, in the model's order.

    Raises:
        NonFiniteError: scores, boxes or masks hold infinities or NaN.

    """
    scores = outputs.pred_logits[0].sigmoid() * outputs.presence_logits[0].sigmoid()
    boxes = outputs.pred_boxes[0].float() * torch.tensor([width, height, width, height], device=scores.device)
    _require_finite(outputs.pred_logits, outputs.presence_logits, outputs.pred_masks, boxes)
    keep = scores > threshold
    masks = encode(outputs.pred_masks[0][keep], height, width)
    rows = zip(boxes[keep].tolist(), scores[keep].tolist(), masks, strict=True)
    return [Detection(box=(box[0], box[1], box[2], box[3]), score=score, mask=mask) for box, score, mask in rows]


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
