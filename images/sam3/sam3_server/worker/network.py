"""SAM3's network in mixed precision: a trunk in half precision; heads, boxes, exemplars and scores in float32.

The trunk (vision backbone, its neck, and text encoder) has 96 % of the weights and of the work. Its matrices and
convolutions are in half precision, everything between them in float32: the residual stream, normalisations, embeddings,
positions. The heads compute boxes and scores from its features, and the tracker, all of it in float32, masks of single
objects. Half precision would put boxes and scores on a grid: 2 px (float16) or 15 px (bfloat16) of an image 4,000 px
wide.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput, Sam3ViTLayer, Sam3ViTRotaryEmbedding

import gpu_memory
from sam3_server.worker import tracker_weights
from sam3_server.worker.features import Features, Levels
from sam3_server.worker.masks import require_finite
from sam3_server.worker.recent import Recent
from sam3_server.worker.tracker import Tracker
from sam3_server.worker.weights import Weights

MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
TEXTS = 256  # each embedding takes 32 KiB of the device
LEVELS = 3  # of the image's features that the heads use; the trunk makes a fourth


class Network:
    """One model's network with its weights in host memory; `move` takes it to a device. `trunk` is the trunk's dtype.

    `tracker` is None where the files have only a detector. Both use one backbone.

    Every method is to be called in inference mode.
    """

    def __init__(self, folder: Path, trunk: torch.dtype) -> None:
        self.trunk = trunk
        # Read in the file's own dtype, so that no second copy is made; buffers are then computed again in float32.
        stored = torch.float32 if trunk is torch.float32 else "auto"
        self._model = Sam3Model.from_pretrained(folder, dtype=stored, attn_implementation="sdpa").eval()
        self._model.requires_grad_(False)
        _compute_buffers(self._model)
        tracker = tracker_weights.load(folder, self._model)
        self.tracker = None if tracker is None else Tracker(tracker)
        self._all = nn.ModuleList([self._model] if tracker is None else [self._model, tracker])
        self.weights = Weights(self._all, dict.fromkeys(_matrices(self._model), trunk), default=torch.float32)
        self._device = "cpu"
        self._position: torch.Tensor | None = None
        self.texts: Recent[torch.Tensor] = Recent(TEXTS)
        """Embeddings of texts: clients repeat their prompts on one image after the other."""

    @property
    def longest_prompt(self) -> int:
        """The most tokens that a prompt may have."""
        return int(self._model.config.text_config.max_position_embeddings)

    def move(self, device: gpu_memory.Device) -> None:
        """Take the network to a device; raises torch.OutOfMemoryError where it does not fit."""
        self.weights.move(device)
        self._all.to(device.torch_device)  # only buffers are left to move
        self._device = device.torch_device
        if device.kind == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # else float32 convolutions keep 10 bits of 23

    def vision_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the backbone's output for an image of shape (1, 3, height, width): (1, channels, rows, columns).

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        backbone = self._model.vision_encoder.backbone
        with self._half():
            hidden = backbone(pixels.to(self._device)).last_hidden_state
        require_finite(hidden)
        rows = pixels.shape[-2] // backbone.config.patch_size
        grid: torch.Tensor = hidden.view(1, rows, hidden.shape[1] // rows, -1).permute(0, 3, 1, 2)
        return grid

    def detector_levels(self, features: Features) -> Sam3VisionEncoderOutput:
        """Return an image's features for the detector's heads, in float32. They are kept in the trunk's dtype.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        if features.levels is None:
            assert features.hidden is not None
            with self._half():
                levels, _ = self._model.vision_encoder.neck(features.hidden)
            require_finite(*levels[:LEVELS])
            features.levels = levels[:LEVELS]
            self._drop_used(features)
        wide = tuple(level.float() for level in features.levels)
        if self._position is None:
            self._position = self._model.vision_encoder.neck.position_encoding(
                wide[-1].shape, wide[-1].device, torch.float32
            )
        # The model drops the last level, and uses the position encoding of the last but one.
        return Sam3VisionEncoderOutput(
            fpn_hidden_states=(*wide, wide[-1]), fpn_position_encoding=(self._position,) * (LEVELS + 1)
        )

    def tracker_embeddings(self, features: Features) -> Levels:
        """Return an image's embeddings for the tracker's heads, in float32. The model must have a tracker.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        if features.embeddings is None:
            assert features.hidden is not None
            assert self.tracker is not None
            features.embeddings = self.tracker.embeddings(features.hidden)
            self._drop_used(features)
        return features.embeddings

    def segment_object(
        self, embeddings: Levels, prompt: Mapping[str, torch.Tensor], multimask: bool
    ) -> tuple[torch.Tensor, float]:
        """Return the mask of one object, as logits of shape (height, width), and its estimated IoU.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        assert self.tracker is not None
        inputs = {name: tensor.to(self._device) for name, tensor in prompt.items()}
        return self.tracker.segment(embeddings, inputs, multimask)

    def _drop_used(self, features: Features) -> None:
        """Free the backbone's output once every neck of this model has used it."""
        if features.levels is not None and (features.embeddings is not None or self.tracker is None):
            features.hidden = None

    def predict(self, image: Sam3VisionEncoderOutput, prompt: Mapping[str, torch.Tensor]) -> Any:
        """Return the model's raw output, in float32, for a prompt as its processor encodes it.

        Raises:
            NonFiniteError: the numbers overflowed.

        """
        key = prompt["input_ids"].numpy().tobytes() + prompt["attention_mask"].numpy().tobytes()
        inputs = {name: tensor.to(self._device) for name, tensor in prompt.items()}
        ids = inputs.pop("input_ids")
        words, _ = self.texts.get_or_compute(key, lambda: self._embedded(ids, inputs["attention_mask"]))
        return self._model(vision_embeds=image, text_embeds=BaseModelOutputWithPooling(pooler_output=words), **inputs)

    def _embedded(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the embedding of a text's tokens, (1, tokens, features) in float32."""
        with self._half():
            text = self._model.text_encoder.text_model(input_ids=ids, attention_mask=attention_mask)
        words = text.last_hidden_state.float()
        require_finite(words)
        embedded: torch.Tensor = self._model.text_projection(words)
        return embedded

    def _half(self) -> AbstractContextManager[Any]:
        if self.trunk is torch.float32:
            return nullcontext()
        return torch.autocast(torch.device(self._device).type, dtype=self.trunk)


def _matrices(model: Sam3Model) -> Iterator[nn.Parameter]:
    """Yield the trunk's parameters that are computed with in half precision."""
    for part in (model.vision_encoder, model.text_encoder):
        for module in part.modules():
            if isinstance(module, MATRICES):
                yield from module.parameters(recurse=False)


def _compute_buffers(model: Sam3Model) -> None:
    """Compute positions and frequencies in float32: `from_pretrained` leaves some of them in the dtype it reads in."""
    for module in model.modules():
        if isinstance(module, Sam3ViTLayer):
            module.position_ids = module.precompute_positions(module.config, module.window_size)
        elif isinstance(module, Sam3ViTRotaryEmbedding):
            module.inv_freq, module.attention_scaling = module.compute_axial_rope_parameters(module.config)
            module.original_inv_freq = module.inv_freq.clone()
