"""How the digits are trained: images, model, and the `spec.training` of a YoloTrainingJob.

What a recipe reaches was measured on two CPU cores; the trainer starts in about 12 s there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.digits import make_digits


@dataclass(frozen=True)
class Recipe:
    """A data set and a training that fits it."""

    train: int
    """Training images."""
    val: int
    """Validation images."""
    training: dict[str, Any]
    """`spec.training`."""
    model: str = "yolo26n.yaml"
    """`spec.model`: an architecture trained from scratch, so that no weights have to be there."""

    def make_images(self, path: Path | str) -> Path:
        """Write the data set to `path` and return its `data.yaml`."""
        return make_digits(path, self.train, self.val, self.training["imageSize"])


# Small images, small batches and no mosaic: from scratch, the number of optimizer steps is what counts. Digits are
# not mirrored, since a mirrored 2 is not a 2.
_ARGS: dict[str, Any] = {
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1,
    "nbs": 8,
    "mosaic": 0.0,
    "fliplr": 0.0,
    "workers": 0,
}

DEMO = Recipe(
    train=256,
    val=48,
    training={"epochs": 8, "imageSize": 128, "batch": 8, "patience": 100, "seed": 0, "args": _ARGS},
)

QUICK = Recipe(
    train=32,
    val=8,
    training={**DEMO.training, "epochs": 3, "imageSize": 64, "args": {**_ARGS, "plots": False}},
)
"""For tests: it learns nothing to speak of, in about 15 s."""
