# SPDX-License-Identifier: AGPL-3.0-only
"""Export the best weights, and compare each export with them on real images before it is published."""

from __future__ import annotations

import gc
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.inputs.weights import RTDETR
from yolo_trainer.suggestions import suggestion
from yolo_trainer.training.failures import is_out_of_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Outputs = list[NDArray[np.float32]]

log = logging.getLogger(__name__)

FORMATS: Mapping[str, tuple[str, ...]] = {
    "torchscript": (),
    "onnx": ("onnx", "onnxslim", "onnxruntime"),
    "engine": ("onnx", "onnxslim", "tensorrt"),
}
"""Formats that can be made offline, and the packages that each needs. `engine` is TensorRT, on a CUDA device."""
COMPARED_IMAGES = 4
"""How many validation images an export is compared on."""
TOLERANCE = 1e-2
"""Largest difference between the weights' figures and the export's: absolute up to 1, and relative above."""
LONGEST_ERROR = 300
"""Characters of an exporter's error in the manifest and in the termination message."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Export:
    """One exported file, and how far its figures were from the weights' own; None where it was not run."""

    file: Path
    difference: float | None


def check_formats(formats: Iterable[str]) -> None:
    """Check that every format can be made here, before a training run is spent on it.

    Raises:
        ConfigInvalidError: a format that cannot.

    """
    for name in formats:
        if name not in FORMATS:
            raise ConfigInvalidError(
                f"output.export {name} is not supported{suggestion(name, FORMATS)}: this trainer exports "
                f"{', '.join(FORMATS)}; every other format can be made from best.pt with Ultralytics' own `yolo export`"
            )
        missing = [package for package in FORMATS[name] if find_spec(package) is None]
        if missing:
            raise ConfigInvalidError(
                f"output.export {name} needs the Python package {', '.join(missing)}, which this image lacks: "
                "leave the format out, or use an image built with it"
            )


def check_device(formats: Iterable[str], torch_device: str) -> None:
    """Check that the device can make every format.

    Raises:
        ConfigInvalidError: TensorRT without CUDA.

    """
    if "engine" in formats and not torch_device.startswith("cuda"):
        raise ConfigInvalidError("output.export engine (TensorRT) is made on a CUDA GPU, and there is none: use onnx")


class ExportFailedError(Exception):
    """An export that cannot be used; the message says why, as the end of a sentence."""


def export(weights: Path, name: str, image_size: int, images: Sequence[Path], torch_device: str = "cpu") -> Export:
    """Export weights to a format, and compare the file with them on some images.

    Raises:
        ExportFailedError: the export failed, or its results differ from those of the weights.
        Exception: where the GPU has too little memory, as PyTorch or CUDA's libraries raise it: another attempt may
            have enough.

    """
    try:
        with warnings.catch_warnings():  # PyTorch's about its own tracing, which Ultralytics uses
            warnings.simplefilter("ignore")
            made = _exported(weights, name, image_size, images[:COMPARED_IMAGES], torch_device)
    except Exception as error:
        # Exporters and runtimes raise whatever their libraries do.
        if is_out_of_memory(error):
            raise
        raise ExportFailedError(_in_short(error)) from error
    if made.difference is None:
        log.info("Exported to %s", made.file)
    elif made.difference > TOLERANCE:
        raise ExportFailedError(
            f"its results differ from those of the weights by {made.difference:.3g} on "
            f"{len(images[:COMPARED_IMAGES])} validation images, and {TOLERANCE} is the most that is accepted"
        )
    else:
        log.info("Exported to %s; differs from the weights by %.1g", made.file, made.difference)
    return made


def _exported(weights: Path, name: str, image_size: int, images: Sequence[Path], torch_device: str) -> Export:
    import torch
    from ultralytics import YOLO

    device = torch_device if name == "engine" else "cpu"
    if device.startswith("cuda"):  # what the training has left in its cache
        gc.collect()
        torch.cuda.empty_cache()
    file = Path(YOLO(weights).export(format=name, imgsz=image_size, device=device))
    compared = name in _RUNNERS and bool(images)
    return Export(file, _difference(weights, file, name, image_size, images) if compared else None)


def _in_short(error: Exception) -> str:
    """Return an error's text as one line of plain text."""
    text = " ".join(_COLOURS.sub("", str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}…"


def _difference(weights: Path, file: Path, name: str, image_size: int, images: Sequence[Path]) -> float:
    """Return the largest difference of any figure that the two give for the same images."""
    import torch
    from ultralytics import YOLO
    from ultralytics.utils.checks import check_imgsz

    model: Any = YOLO(weights).model.float().eval()
    sorted_rows = bool(getattr(model, "end2end", False)) or RTDETR in type(model.model[-1]).__name__
    edge = int(check_imgsz(image_size, stride=model.stride, min_dim=1))  # as the exporter rounds it
    worst = 0.0
    for image_file in images:
        pixels = _pixels(image_file, edge, model.yaml.get("channels", 3))
        with torch.inference_mode():
            expected = _flat(model(pixels))
        found = _RUNNERS[name](file, pixels)
        worst = max(worst, *(_gap(e, f, sorted_rows) for e, f in zip(expected, found, strict=False)))
    return worst


def _gap(expected: NDArray[np.float32], found: NDArray[np.float32], sorted_rows: bool) -> float:
    """Return the largest difference, relative above 1. Rows sorted by score may change places where these are alike."""
    import numpy as np

    if expected.shape != found.shape:
        return float("inf")
    if not (sorted_rows and expected.ndim == 3):
        return float(np.max(np.abs(expected - found) / np.maximum(1, np.abs(expected)), initial=0))
    rows, others = expected[0], found[0]
    # The rows at the cut, where the next best row was left out, may be others.
    rows = rows[rows[:, 4] > rows[-1, 4] + TOLERANCE]
    if not len(rows):
        return float(np.max(np.abs(np.sort(expected[0, :, 4]) - np.sort(others[:, 4])), initial=0))
    gaps = np.abs(rows[:, None] - others[None]) / np.maximum(1, np.abs(rows[:, None]))
    return float(gaps.max(axis=2).min(axis=1).max())


def _pixels(image_file: Path, edge: int, channels: int) -> Any:
    """Return an image as the model's input: 1 x channels x edge x edge, from 0 to 1, read as for a training run."""
    import cv2
    import torch
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.patches import imread

    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    image = LetterBox((edge, edge), auto=False)(image=imread(str(image_file), flags))
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., ::-1] if channels == 3 else image  # from OpenCV's BGR
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255


def _flat(output: Any) -> Outputs:
    """Return the arrays of a model's answer, in its order; what only training needs is left out."""
    if hasattr(output, "numpy"):
        return [output.numpy()]
    if isinstance(output, list | tuple):
        return [array for part in output for array in _flat(part)]
    return []


def _run_onnx(file: Path, pixels: Any) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: pixels.numpy()}))


def _run_torchscript(file: Path, pixels: Any) -> Outputs:
    import torch

    with torch.inference_mode():
        load: Callable[[str], Any] = torch.jit.load
        return _flat(load(str(file))(pixels))


_RUNNERS = {"onnx": _run_onnx, "torchscript": _run_torchscript}
