"""The trainer on a GPU that is too small: PyTorch's own errors, raised where CUDA would raise them.

`python -m tests.faults.yolo_full_gpu run job.json`, with in the environment

    FACE     the text of the error; "torch" for PyTorch's own error
    STAGE    training, validation, or a format that is exported
    FITS     the largest batch that fits into a training step
"""

import os
from typing import Any

import torch
from ultralytics.engine.exporter import Exporter
from ultralytics.nn.tasks import BaseModel

from yolo_trainer.__main__ import main
from yolo_trainer.training import offline

FACE, STAGE, FITS = os.environ["FACE"], os.environ["STAGE"], int(os.environ.get("FITS", "0"))
forward, export = BaseModel.forward, Exporter.__call__


def full() -> Exception:
    if FACE == "torch":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …")
    return RuntimeError(FACE)


def on_a_full_gpu(self: Any, x: Any, *args: Any, **settings: Any) -> Any:
    images = x["img"] if isinstance(x, dict) else x
    if STAGE == "training" and isinstance(x, dict) and self.training and len(images) > FITS:
        raise full()
    if STAGE == "validation" and not self.training and len(images) > 1:
        raise full()
    return forward(self, x, *args, **settings)


def export_on_a_full_gpu(self: Any, *args: Any, **settings: Any) -> Any:
    if self.args.format == STAGE:
        raise full()
    return export(self, *args, **settings)


if __name__ == "__main__":
    offline.import_ultralytics()
    BaseModel.forward = on_a_full_gpu
    Exporter.__call__ = export_on_a_full_gpu
    main()
