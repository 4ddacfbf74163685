"""What is kept of an image, so that further prompts on it cost no pass through the vision backbone."""

from dataclasses import dataclass

import torch

Levels = tuple[torch.Tensor, ...]


@dataclass
class Features:
    """The features of an image whose upright size is in pixels.

    `hidden` is the backbone's output of shape (1, channels, height, width), kept until both necks have used it. From
    it come `levels`, the detector's, and `embeddings`, the tracker's: each is computed when it is first needed.
    """

    width: int
    height: int
    image_id: str
    hidden: torch.Tensor | None
    levels: Levels | None = None
    embeddings: Levels | None = None
