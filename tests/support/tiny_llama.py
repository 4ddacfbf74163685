"""A language model with random weights and a tokenizer, in the files that engines read: no model hub is needed."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

_BEGIN, _END = "<s>", "</s>"
_TEXT = ("the quick brown fox jumps over the lazy dog",)


def save_tiny_llama(folder: Path) -> None:
    """Write a Llama of about a million parameters; its text means nothing."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[_BEGIN, _END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(_TEXT, trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": _BEGIN, "eos_token": _END}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
