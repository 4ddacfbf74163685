"""A SAM3 with some 250,000 random weights: from upload to mask on a CPU. Its masks are meaningless."""

from pathlib import Path

import torch
from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

SIDE = 112
SEED = 0


def make(folder: Path) -> int:
    """Write model and processor as save_pretrained does, always with the same weights; return the parameters."""
    words = tokenizer()
    torch.manual_seed(SEED)
    model = Sam3Model(_config(len(words)))
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    Sam3Processor(images, words).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes its file readable by the owner only, and pods run as another user
    return int(model.num_parameters())


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
