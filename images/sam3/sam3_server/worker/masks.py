"""From the model's raw output to boxes, scores and the run lengths of masks, a few masks at a time.

The stock `post_process_instance_segmentation` upsamples every mask to the image's size at once and in 64-bit integers,
and the caching allocator keeps that peak: 4.5 GB for 22 instances at 810 x 1080 (ultralytics#26196). Here each chunk is
upsampled, thresholded and reduced to run lengths on the device before the next; the masks are the same, bit for bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sam3_server.worker.instances import Found, Runs

MASKS_PER_CHUNK = 8
PIXELS_PER_CHUNK = 64_000_000
MASK_THRESHOLD = 0.5


class NonFiniteError(Exception):
    """The model's numbers overflowed."""


def instances(
    outputs: Any,
    threshold: float,
    height: int,
    width: int,
    most: int,
    with_masks: bool,
    check: Callable[[], None] = lambda: None,
) -> Found:
    """Return what scores above `threshold` on the one image in `outputs`: of more than `most` instances, the best.

    `check` is called before each chunk of masks; what it raises ends the work.

    Raises:
        NonFiniteError: scores, boxes or masks hold infinities or NaN.

    """
    scores = outputs.pred_logits[0].sigmoid() * outputs.presence_logits[0].sigmoid()
    boxes = outputs.pred_boxes[0].float() * torch.tensor([width, height, width, height], device=scores.device)
    require_finite(outputs.pred_logits, outputs.presence_logits, outputs.pred_masks, boxes)
    above = (scores > threshold).nonzero().squeeze(1)
    keep = above[scores[above].topk(most).indices.sort().values] if len(above) > most else above
    masks = runs(outputs.pred_masks[0][keep], height, width, check) if with_masks else None
    corners = [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes[keep].tolist()]
    return Found(corners, scores[keep].tolist(), masks, omitted=len(above) - len(keep))


def runs(
    logits: torch.Tensor, height: int, width: int, check: Callable[[], None] = lambda: None, as_logits: bool = False
) -> list[Runs]:
    """Upsample mask logits of shape (n, h, w) to `height` x `width`; return their runs. `check` precedes each chunk.

    The detector's masks are upsampled as probabilities, the tracker's as logits, as in transformers.
    """
    size = max(1, min(MASKS_PER_CHUNK, PIXELS_PER_CHUNK // (height * width)))
    found: list[Runs] = []
    for chunk in torch.split(logits, size):
        check()
        found += _runs_of_chunk(chunk, height, width, as_logits) if len(chunk) else []
    return found


def _runs_of_chunk(logits: torch.Tensor, height: int, width: int, as_logits: bool) -> list[Runs]:
    values = logits if as_logits else logits.sigmoid()
    masks = torch.nn.functional.interpolate(
        values.unsqueeze(0), size=(height, width), mode="bilinear", align_corners=False
    ).squeeze(0)
    bits = masks > (0 if as_logits else MASK_THRESHOLD)
    first = bits[:, 0, 0].tolist()
    down = (bits[:, 1:] != bits[:, :-1]).nonzero().cpu().numpy()  # mask, row, column of what differs from below it
    over = (bits[:, -1, :-1] != bits[:, 0, 1:]).nonzero().cpu().numpy()  # a column's end from the start of the next
    return [
        _lengths(
            starts_with_ones,
            _of_mask(down, index) @ (1, height) + 1,
            (_of_mask(over, index)[:, 0] + 1) * height,
            height * width,
        )
        for index, starts_with_ones in enumerate(first)
    ]


def _of_mask(changes: Any, index: int) -> Any:
    """Return the rows of one mask, without its number; the rows are in the masks' order."""
    start, end = np.searchsorted(changes[:, 0], (index, index + 1))
    return changes[start:end, 1:]


def _lengths(starts_with_ones: bool, down: Any, over: Any, pixels: int) -> Runs:
    """Return run lengths from the places, counted column by column, at which a mask changes."""
    changes = np.sort(np.concatenate((down, over)))
    edges = np.concatenate(([0, 0] if starts_with_ones else [0], changes, [pixels]))
    return np.diff(edges).astype(np.uint32)


def require_finite(*tensors: torch.Tensor) -> None:
    """Pass numbers without infinities and NaN; raises NonFiniteError."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise NonFiniteError
