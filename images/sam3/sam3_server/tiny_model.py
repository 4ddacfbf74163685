"""A SAM3 with some 345,000 random weights: from upload to mask on a CPU. Its masks are meaningless."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPTokenizer,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)

SIDE = 112
SEED = 0
BACKBONE, NECK = "vision_encoder.backbone.", "vision_encoder.neck."
HEAD = {"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 64, "iou_head_hidden_dim": 32}


def make(folder: Path) -> int:
    """Write detector, tracker and processor, laid out as in facebook/sam3; return the number of parameters.

    The weights are always the same. Detector and tracker share the backbone's.
    """
    words = tokenizer()
    torch.manual_seed(SEED)
    detector = Sam3Model(_config(len(words)))
    tracker = Sam3TrackerModel(_tracker_config(detector.config))
    write(folder, detector, tracker)
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": 32, "width": 32})
    Sam3Processor(images, words).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes its file readable by the owner only, and pods run as another user
    own = [each for name, each in tracker.named_parameters() if not name.startswith(BACKBONE)]
    return sum(each.numel() for each in (*detector.parameters(), *own))


def write(folder: Path, detector: Sam3Model, tracker: Sam3TrackerModel) -> None:
    """Write weights and configuration of both, laid out as in facebook/sam3."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_joint(detector, tracker), folder / "model.safetensors", metadata={"format": "pt"})
    _write_config(folder / "config.json", detector, tracker)


def _joint(detector: Sam3Model, tracker: Sam3TrackerModel) -> dict[str, torch.Tensor]:
    """Return the weights of both under the names that they have in facebook/sam3."""
    joint = {f"detector_model.{name}": each for name, each in detector.state_dict().items()}
    for name, each in tracker.state_dict().items():
        if name.startswith(NECK):
            joint[f"tracker_neck.{name.removeprefix(NECK)}"] = each
        elif not name.startswith(BACKBONE):
            joint[f"tracker_model.{name}"] = each
    return {name: each.contiguous() for name, each in joint.items()}


def _write_config(path: Path, detector: Sam3Model, tracker: Sam3TrackerModel) -> None:
    config = {
        "model_type": "sam3_video",
        "architectures": ["Sam3VideoModel"],
        "detector_config": detector.config.to_dict(),
        "tracker_config": tracker.config.to_dict(),
    }
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")


def _tracker_config(config: Sam3Config) -> Sam3TrackerConfig:
    return Sam3TrackerConfig(
        vision_config=config.vision_config.to_dict(),
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE},
        mask_decoder_config=HEAD,
    )


def _config(vocabulary: int) -> Sam3Config:
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    layers = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return Sam3Config(
        vision_config={
            "backbone_config": backbone,
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text,
        geometry_encoder_config=layers,
        detr_encoder_config=layers,
        detr_decoder_config={**layers, "num_queries": 5},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )


def tokenizer() -> CLIPTokenizer:
    """Return a tokenizer with one token per byte and no merges."""
    symbols = _byte_symbols()
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[])


def _byte_symbols() -> list[str]:
    """Return GPT-2's printable stand-in for each of the 256 bytes."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + hidden.index(byte)) for byte in range(256)]
