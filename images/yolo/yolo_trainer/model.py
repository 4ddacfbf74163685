# SPDX-License-Identifier: AGPL-3.0-only
"""Finds the model that a job names on the volumes, and sees that it fits the task."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path

from yolo_trainer.job import Task
from yolo_trainer.outcome import ConfigInvalidError

ARCHITECTURES = (".yaml", ".yml")
WEIGHTS = ".pt"
WEIGHT_ARGUMENTS = ("pretrained", "distill_model")
"""Training arguments that may name a weight file."""


def find_model(name: str, folders: Sequence[Path]) -> str:
    """Return what Ultralytics takes as `model`: a file, or the name of an architecture that it brings along.

    Args:
        name: a path, or a name that is looked for in `folders`, in their order.
        folders: where weights and architectures of the user's own may lie.

    Raises:
        ConfigInvalidError: there is no such model.

    """
    if not name.lower().endswith((*ARCHITECTURES, WEIGHTS)):
        raise ConfigInvalidError(
            f"model is '{name}': name an architecture (yolo26n.yaml) to train from scratch, or weights (yolo26n.pt)"
        )
    places = [folder / name for folder in folders]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return str(found)
    if name.lower().endswith(WEIGHTS):
        raise ConfigInvalidError(
            f"model {name} was not found ({', '.join(map(str, places))}): put the file beside the data set, give its "
            f"address{_address_of(name)}, or train from scratch with {Path(name).with_suffix('.yaml').name}"
        )
    return name


def _address_of(name: str) -> str:
    """Return where Ultralytics publishes weights of its own, as part of a sentence."""
    from ultralytics.utils import downloads

    if name not in downloads.GITHUB_ASSETS_NAMES:
        return ""
    release = signature(downloads.attempt_download_asset).parameters["release"].default
    return f" (https://github.com/{downloads.GITHUB_ASSETS_REPO}/releases/download/{release}/{name})"


def check_model(model: str, task: Task) -> None:
    """Load the architecture or the weights far enough to see that they fit the task.

    Raises:
        ConfigInvalidError: unknown architecture, unreadable weights, or a model for another task.

    """
    from ultralytics.nn.tasks import guess_model_task, load_checkpoint, yaml_model_load

    try:
        if model.lower().endswith(WEIGHTS):
            models_task = load_checkpoint(model)[0].task
        else:
            models_task = guess_model_task(yaml_model_load(model))
    except Exception as error:
        # Unpickling and parsing somebody's file can fail in any way; all of them mean the same.
        raise ConfigInvalidError(f"model {model} cannot be used: {' '.join(str(error).split())}") from error
    if models_task != task:
        raise ConfigInvalidError(f"model {model} is for the task {models_task}, and the job's task is {task}")
