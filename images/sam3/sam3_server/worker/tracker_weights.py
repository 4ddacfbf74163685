"""SAM3's tracker as a segmenter of single objects: its weights from the model's folder, on the detector's backbone.

In facebook/sam3, `detector_model.*` are the weights of the detector, `tracker_neck.*` and `tracker_model.*` those of
the tracker. Both use one backbone. The tracker's own weights are 12 million, 46 MiB in float32.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import Sam3Config, Sam3Model, Sam3TrackerConfig, Sam3TrackerModel

from sam3_server.worker.protocol import WorkerError

NAMES = {"tracker_neck.": "vision_encoder.neck.", "tracker_model.": ""}
"""What the names of the tracker's weights begin with in a file, and in transformers' model."""
ABSENT = (
    "the model in SAM3_MODEL has no tracker weights (tracker_neck.*, tracker_model.*), which points, boxes and masks "
    "of single objects need; set SAM3_MODEL to a folder with all files of facebook/sam3, which has them"
)


def load(folder: Path, detector: Sam3Model) -> Sam3TrackerModel | None:
    """Return the tracker of a model's folder, with the detector's backbone; None if the folder has only a detector.

    The tracker's own weights are in float32.

    Raises:
        WorkerError: some of the tracker's weights are missing.

    """
    files = sorted(folder.glob("*.safetensors"))
    if not any(_renamed(name) for file in files for name in _names(file)):
        return None
    with torch.device("meta"):
        tracker = Sam3TrackerModel(_config(folder, detector.config))
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    wanted = {name for name, each in tracker.state_dict().items() if each.is_meta}
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        tensors |= _read(file, wanted)
    if missing := sorted(wanted - tensors.keys()):
        some = ", ".join(missing[:3])
        raise WorkerError("error", f"the files in SAM3_MODEL lack {len(missing)} of the tracker's weights: {some}, …")
    tracker.load_state_dict(tensors, strict=False, assign=True)
    tracker.requires_grad_(False)
    return tracker.eval()


def _names(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def _read(file: Path, wanted: set[str]) -> dict[str, torch.Tensor]:
    """Return a file's weights of the tracker by their names in the model, as copies that do not need the file."""
    found: dict[str, torch.Tensor] = {}
    with safe_open(file, "pt") as opened:
        for name in opened.keys():  # noqa: SIM118  (it is no mapping)
            renamed = _renamed(name)
            if renamed in wanted:
                found[renamed] = opened.get_tensor(name).to(torch.float32, copy=True)
    return found


def _renamed(name: str) -> str | None:
    """Return the model's name of a weight in a file; None for a weight that is not the tracker's."""
    for prefix, replacement in NAMES.items():
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return None


def _config(folder: Path, detector: Sam3Config) -> Sam3TrackerConfig:
    """Return the tracker's configuration. Its sizes are the detector's: transformers' joint one always says 1008."""
    written: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own: dict[str, Any] = written.get("tracker_config", {})
    backbone = detector.vision_config.backbone_config
    sizes = {"image_size": backbone.image_size, "patch_size": backbone.patch_size}
    return Sam3TrackerConfig(
        vision_config=detector.vision_config.to_dict(),
        prompt_encoder_config=_plain(own.get("prompt_encoder_config")) | sizes,
        mask_decoder_config=_plain(own.get("mask_decoder_config")),
    )


def _plain(config: dict[str, Any] | None) -> dict[str, Any]:
    """Return a part of a configuration without its type: the video tracker's parts have other names for the same."""
    return {name: value for name, value in (config or {}).items() if name != "model_type"}
