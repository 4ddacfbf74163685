"""What the model is given: images, prompts and objects as its processors encode them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from transformers import Sam3Processor, Sam3TrackerProcessor

from sam3_server.worker.protocol import Mask, ObjectPrompt, Prompt

MASK_LOGIT = 10.0
"""What the tracker is given for a pixel of an earlier mask; for a pixel outside, the negative."""


class Inputs:
    """Encodes for the model in one folder. Coordinates come in pixels of the upright image."""

    def __init__(self, folder: Path) -> None:
        self._processor = Sam3Processor.from_pretrained(folder)
        self._tracker_processor = Sam3TrackerProcessor(self._processor.image_processor)

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self._processor.tokenizer(text).input_ids)

    def image(self, pixels: bytearray, width: int, height: int) -> Any:
        """Return RGB pixels, row by row, as a tensor of shape (1, 3, side, side)."""
        array = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        return self._processor(images=array, return_tensors="pt", input_data_format="channels_last").pixel_values

    def prompt(self, prompt: Prompt, width: int, height: int) -> dict[str, torch.Tensor]:
        """Return what the detector is given for a prompt on an image of this size."""
        boxes = [list(exemplar.box) for exemplar in prompt.exemplars]
        inputs = self._processor(
            text=prompt.name,
            input_boxes=[boxes] if boxes else None,
            input_boxes_labels=[[int(exemplar.positive) for exemplar in prompt.exemplars]] if boxes else None,
            original_sizes=[[height, width]],
            return_tensors="pt",
        )
        del inputs["original_sizes"]
        if boxes:
            inputs["input_boxes"] = inputs["input_boxes"].float()
        return dict(inputs)

    def object(self, prompt: ObjectPrompt, width: int, height: int) -> dict[str, torch.Tensor]:
        """Return what the tracker is given for one object on an image of this size."""
        points = [[point.x, point.y] for point in prompt.points]
        inputs = self._tracker_processor(
            input_points=[[points]] if points else None,
            input_labels=[[[int(point.positive) for point in prompt.points]]] if points else None,
            input_boxes=None if prompt.box is None else [[list(prompt.box)]],
            original_sizes=[[height, width]],
            return_tensors="pt",
        )
        del inputs["original_sizes"]
        masks = {} if prompt.mask is None else {"input_masks": _logits(prompt.mask)}
        return {**inputs, **masks}


def _logits(mask: Mask) -> torch.Tensor:
    """Return an earlier mask as logits of shape (1, 1, height, width); the model scales them to the size it reads."""
    bits = torch.from_numpy(coco.decode(mask.model_dump()).astype(np.float32))
    return (2 * bits - 1)[None, None] * MASK_LOGIT
