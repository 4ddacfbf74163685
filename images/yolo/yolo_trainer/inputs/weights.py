# SPDX-License-Identifier: AGPL-3.0-only
"""Find the model that a job names on the volumes, and check that it can be trained and fits the task."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job.spec import Job, Task
from yolo_trainer.storage import backends

ARCHITECTURES = (".yaml", ".yml")
WEIGHTS = ".pt"
PROMPTED = {"World": "YOLO-World", "YOLOE": "YOLOE"}
"""Parts of the names of heads and classes, and the family: Ultralytics trains these with text and data of their own."""
RTDETR = "RTDETR"
"""Part of the name of RT-DETR's head."""
WEIGHT_ARGUMENTS = ("pretrained", "distill_model")
"""Training arguments that may name a weight file."""


def find_model(name: str, folders: Sequence[Path]) -> str:
    """Return what Ultralytics takes as `model`: a file, or the name of an architecture that is part of it.

    Args:
        name: a path, or a name that is looked for in `folders`, in their order.
        folders: folders that may hold weights and architectures of the user.

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


def check_weights(job: Job) -> None:
    """Check that a job without training names weights.

    Raises:
        ConfigInvalidError: it names an architecture.

    """
    name = backends.name_of(job.model) if backends.is_uri(job.model) else job.model
    if job.mode != "Train" and not name.lower().endswith(WEIGHTS):
        raise ConfigInvalidError(
            f"model is {backends.redacted(job.model)}, and mode {job.mode} needs weights: name a .pt file, such as "
            "weights/best.pt of a finished run, as an absolute path, beside the data set, or as a URI"
        )


def _address_of(name: str) -> str:
    """Return where Ultralytics publishes weights of its own, as part of a sentence."""
    from ultralytics.utils import downloads

    if name not in downloads.GITHUB_ASSETS_NAMES:
        return ""
    release = signature(downloads.attempt_download_asset).parameters["release"].default
    return f" (https://github.com/{downloads.GITHUB_ASSETS_REPO}/releases/download/{release}/{name})"


def check_model(model: str, task: Task) -> None:
    """Load the architecture or the weights far enough to check that they can be trained and fit the task.

    Raises:
        ConfigInvalidError: unknown architecture, unreadable weights, a model that is trained in another way
            (YOLO-World, YOLOE), or a model for another task.

    """
    from ultralytics.nn.tasks import guess_model_task

    try:
        head, network = _head(model)
        models_task = "detect" if RTDETR in head else getattr(network, "task", None) or guess_model_task(network)
    except Exception as error:
        # Unpickling and parsing a user's file can fail in any way; every failure means the same.
        raise ConfigInvalidError(f"model {model} cannot be used: {' '.join(str(error).split())}") from error
    family = next((family for part, family in PROMPTED.items() if part in head), None)
    if family is not None:
        raise ConfigInvalidError(
            f"model {model} is a {family} model, which is trained with text prompts and which this trainer does not "
            "train: use a YOLO or RT-DETR model, such as yolo26n.yaml"
        )
    if models_task != task:
        raise ConfigInvalidError(f"model {model} is for the task {models_task}, and the job's task is {task}")


def is_rtdetr(model: str) -> bool:
    """Return True for a model with RT-DETR's head, for which Ultralytics has a trainer of its own."""
    return RTDETR in _head(model)[0]


def count_parameters(model: str) -> int:
    """Return how many parameters a model has."""
    return sum(parameter.numel() for parameter in build(model).parameters())


def build(model: str) -> Any:
    """Return the PyTorch module of an architecture or of weights."""
    import ultralytics

    return (ultralytics.RTDETR if is_rtdetr(model) else ultralytics.YOLO)(model).model


def _head(model: str) -> tuple[str, Any]:
    """Return the names of a model's last module and of its class, and the weights or the architecture themselves."""
    from ultralytics.nn.tasks import load_checkpoint, yaml_model_load

    if model.lower().endswith(WEIGHTS):
        network = load_checkpoint(model)[0]
        last = network.model[-1] if hasattr(network, "model") else network
        return f"{type(network).__name__} {type(last).__name__}", network
    architecture = yaml_model_load(model)
    return str(architecture["head"][-1][-2]), architecture
