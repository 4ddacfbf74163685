# SPDX-License-Identifier: AGPL-3.0-only
"""Check which of Ultralytics' arguments a job gives in `training.args`.

The list of arguments is Ultralytics' own (`cfg/default.yaml`), read without importing it, so that a misspelt name is
refused within milliseconds. Values are checked later, by Ultralytics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from yolo_trainer.errors import ConfigInvalidError, in_one_sentence
from yolo_trainer.suggestions import suggestion

_OWNED = {
    "epochs": "give training.epochs instead",
    "imgsz": "give training.imageSize instead",
    "batch": "give training.batch instead",
    "patience": "give training.patience instead",
    "seed": "give training.seed instead",
    "model": "give model instead",
    "task": "give task instead",
    "data": "give dataset instead",
    "time": "give training.timeLimit instead, in seconds",
    "format": "give output.export instead",
    "project": "give output instead",
    "name": "give output instead",
    "save_dir": "give output instead",
    "exist_ok": "an output folder is always kept",
    "device": "the operator chooses the GPU",
    "resume": "a checkpoint of the same job is always resumed",
    "save": "checkpoints are always saved",
    "mode": "the mode is always train",
    "cfg": "give each argument in training.args by its own name",
}
_NOT_FOR_TRAINING = frozenset(
    {"source", "vid_stride", "stream_buffer", "visualize", "augment", "agnostic_nms", "retina_masks", "embed"}
    | {"show", "save_frames", "save_txt", "save_conf", "save_crop", "show_labels", "show_conf", "show_boxes"}
    | {"line_width", "dnn", "optimize", "dynamic", "simplify", "opset", "workspace", "tracker"}
)


def check_names(args: Iterable[str]) -> None:
    """Refuse names that are no training arguments, and arguments that another field of the job sets.

    Raises:
        ConfigInvalidError: with a sentence on each argument that must change.

    """
    problems = [problem for name in args if (problem := _problem(name))]
    if problems:
        raise ConfigInvalidError(in_one_sentence(problems))


def place_of(name: str) -> str | None:
    """Say where an Ultralytics argument belongs that is beside `training.args`; None if it is no argument."""
    if name in _OWNED:
        return _OWNED[name]
    known = name in _default_cfg() and name not in _NOT_FOR_TRAINING
    return f"Ultralytics' own arguments go into training.args, as training.args.{name}" if known else None


def defaults() -> Mapping[str, Any]:
    """Return Ultralytics' arguments and their default values."""
    return dict(_default_cfg())


@cache
def _default_cfg() -> dict[str, Any]:
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("ultralytics is not installed")
    content: dict[str, Any] = yaml.safe_load((Path(spec.origin).parent / "cfg" / "default.yaml").read_text("utf-8"))
    return content


def _problem(name: str) -> str | None:
    where = f"training.args.{name}"
    if name in _OWNED:
        return f"{where} cannot be set: {_OWNED[name]}"
    known = _default_cfg().keys() - _NOT_FOR_TRAINING - _OWNED.keys()
    if name in _NOT_FOR_TRAINING:
        return f"{where} has no effect on a training: leave it out"
    if name not in known:
        return f"{where} is not an Ultralytics training argument{suggestion(name, sorted(known))}"
    return None
