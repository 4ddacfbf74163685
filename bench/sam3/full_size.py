"""A SAM3 of full size with random weights: all the work of the real one. `python -m bench.sam3.full_size FOLDER`."""

import argparse
from pathlib import Path

import torch
from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

from sam3_server.tiny_model import tokenizer

PARAMETERS = 840_376_374


def make(folder: Path, dtype: str) -> int:
    """Write model and processor as save_pretrained does; return the number of parameters.

    Raises:
        RuntimeError: the architecture is not the one that this benchmark speaks of.

    """
    words = tokenizer()
    torch.manual_seed(0)
    config = Sam3Config()
    config.text_config.update({"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": 0})
    model = Sam3Model(config)
    parameters = int(model.num_parameters())
    if parameters != PARAMETERS:
        raise RuntimeError(f"this SAM3 has {parameters:,} parameters, not {PARAMETERS:,}")
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    Sam3Processor(Sam3ImageProcessor(), words).save_pretrained(folder)
    return parameters


def main() -> None:
    """Write the model to the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.sam3.full_size", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    arguments = parser.parse_args()
    print(f"{make(arguments.folder, arguments.dtype):,} parameters in {arguments.folder}")


if __name__ == "__main__":
    main()
