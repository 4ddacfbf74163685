"""The tracker's heads: one mask for each object that points and a box describe, all in float32."""

from collections.abc import Mapping

import torch
from transformers import Sam3TrackerModel

from sam3_server.worker.features import Levels
from sam3_server.worker.masks import require_finite


class Tracker:
    """Segments single objects, as transformers' `Sam3TrackerModel` does. To be called in inference mode."""

    def __init__(self, model: Sam3TrackerModel) -> None:
        self.model = model

    def embeddings(self, hidden: torch.Tensor) -> Levels:
        """Return an image's embeddings in three sizes, from the backbone's output (1, channels, height, width).

        `no_memory_embedding` is left out: the stock model adds it to a level that it then drops.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        levels, _ = self.model.vision_encoder.neck(hidden.float())
        decoder = self.model.mask_decoder
        embeddings = (decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]), levels[2])
        require_finite(*embeddings)
        return embeddings

    def segment(
        self, embeddings: Levels, inputs: Mapping[str, torch.Tensor], multimask: bool
    ) -> tuple[torch.Tensor, float]:
        """Return the best mask of one object, as logits of shape (height, width), and its estimated IoU.

        Objects are segmented one by one: padding to the same number of points would change their masks.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        outputs = self.model(image_embeddings=list(embeddings), multimask_output=multimask, **inputs)
        masks, scores = outputs.pred_masks[0, 0], outputs.iou_scores[0, 0]
        require_finite(masks, scores)
        best = int(scores.argmax())
        return masks[best], float(scores[best])
