# SPDX-License-Identifier: AGPL-3.0-only
"""What a training leaves in its output folder: weights, figures, exports."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yolo_trainer.job import Task, suggestion
from yolo_trainer.outcome import ConfigInvalidError, TrainerError

log = logging.getLogger(__name__)

EXPORTS: Mapping[str, tuple[str, ...]] = {"torchscript": (), "onnx": ("onnx",)}
"""Formats that can be made offline and without a GPU, and the packages that each needs beyond the trainer's own."""
SIMPLIFIERS = ("onnxslim", "onnxruntime")
"""Packages with which an ONNX file is also simplified."""

_BOX = {"mAP50": "metrics/mAP50(B)", "mAP50_95": "metrics/mAP50-95(B)"}
_METRICS: Mapping[Task, Mapping[str, str]] = {
    "detect": _BOX,
    "obb": _BOX,
    "segment": {"mAP50": "metrics/mAP50(M)", "mAP50_95": "metrics/mAP50-95(M)"},
    "pose": {"mAP50": "metrics/mAP50(P)", "mAP50_95": "metrics/mAP50-95(P)"},
    "classify": {"top1": "metrics/accuracy_top1", "top5": "metrics/accuracy_top5"},
}


def metrics_of(task: Task, raw: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the figures by which the task is judged, from Ultralytics' many."""
    return {name: float(raw[key]) for name, key in _METRICS[task].items() if raw and key in raw}


def sentence(metrics: Mapping[str, float]) -> str:
    """Return figures as `mAP50 0.91, mAP50-95 0.62`."""
    return ", ".join(f"{name.replace('_', '-')} {value:.3f}" for name, value in metrics.items()) or "not validated"


def weights_of(output: Path) -> dict[str, str]:
    """Return the weight files that there are, by `best` and `last`."""
    files = {name: output / "weights" / f"{name}.pt" for name in ("best", "last")}
    return {name: str(file) for name, file in files.items() if file.is_file()}


def check_exports(formats: Iterable[str]) -> None:
    """See that every format can be made here, before a training is spent on it.

    Raises:
        ConfigInvalidError: a format that cannot.

    """
    for name in formats:
        if name not in EXPORTS:
            raise ConfigInvalidError(
                f"output.export {name} is not supported{suggestion(name, EXPORTS)}: this trainer exports "
                f"{', '.join(EXPORTS)}; every other format can be made from best.pt with Ultralytics' own `yolo export`"
            )
        missing = [package for package in EXPORTS[name] if find_spec(package) is None]
        if missing:
            raise ConfigInvalidError(
                f"output.export {name} needs the Python package {', '.join(missing)}, which this image lacks: "
                "leave the format out, or use an image built with it"
            )


def export(weights: Path, formats: Iterable[str], image_size: int) -> dict[str, str]:
    """Export weights on the CPU, and return the file of each format.

    Raises:
        TrainerError: an export failed. The weights stay, and another attempt makes only the exports again.

    """
    from ultralytics import YOLO

    files = {}
    for name in formats:
        settings = {"simplify": all(find_spec(package) for package in SIMPLIFIERS)} if name == "onnx" else {}
        try:
            with warnings.catch_warnings():  # PyTorch's about its own tracing, which Ultralytics uses
                warnings.simplefilter("ignore", FutureWarning)
                file = Path(YOLO(weights).export(format=name, imgsz=image_size, device="cpu", **settings))
        except Exception as error:
            # Exporters raise whatever their libraries do.
            raise TrainerError(f"the training is complete, but the export to {name} failed: {error}") from error
        files[name] = str(file)
        log.info("Exported to %s", file)
    return files
