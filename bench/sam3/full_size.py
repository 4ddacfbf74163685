"""A SAM3 of full size with random weights: all the work of the real one. `python -m bench.sam3.full_size FOLDER`."""

import argparse
from pathlib import Path

import torch
from transformers import (
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)

from sam3_server import tiny_model

PARAMETERS = 840_376_374
SPREAD = 0.02  # of the tracker's weights


def make(folder: Path, dtype: str) -> int:
    """Write detector, tracker and processor; return the number of the detector's parameters.

    Raises:
        RuntimeError: the architecture is not the one that this benchmark speaks of.

    """
    words = tiny_model.tokenizer()
    torch.manual_seed(0)
    config = Sam3Config()
    config.text_config.update({"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": 0})
    model = Sam3Model(config)
    parameters = int(model.num_parameters())
    if parameters != PARAMETERS:
        raise RuntimeError(f"this SAM3 has {parameters:,} parameters, not {PARAMETERS:,}")
    with torch.device("meta"):
        tracker = Sam3TrackerModel(Sam3TrackerConfig())
    tracker.vision_encoder.backbone = model.vision_encoder.backbone
    _fill(tracker)
    tiny_model.write(folder, *(each.to(getattr(torch, dtype)) for each in (model, tracker)))
    Sam3Processor(Sam3ImageProcessor(), words).save_pretrained(folder)
    return parameters


def _fill(tracker: Sam3TrackerModel) -> None:
    """Give a tracker random weights where it has none yet: all but the backbone, which is the detector's."""
    own = {name: each for name, each in tracker.state_dict().items() if each.is_meta}
    filled = {name: torch.randn(each.shape) * SPREAD for name, each in own.items()}
    tracker.load_state_dict(filled, strict=False, assign=True)


def main() -> None:
    """Write the model to the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.sam3.full_size", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    arguments = parser.parse_args()
    print(f"{make(arguments.folder, arguments.dtype):,} parameters in {arguments.folder}")


if __name__ == "__main__":
    main()
