# SPDX-License-Identifier: AGPL-3.0-only
"""How many pictures to a batch: what the job says, or what fits into the memory granted; half after running out.

Nobody probes until memory runs out here, as `batch=-1` does in Ultralytics: on a shared GPU that takes what others
count on. What one picture needs is counted instead: the bytes that autograd keeps of it for the backward pass, in the
precision that the GPU will train in, seen in one pass of the real model on the CPU.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_trainer.checkpoints import write_whole
from yolo_trainer.job import Job, Task

log = logging.getLogger(__name__)

MIB = 2**20
WITHOUT_GPU = 16
"""`auto` where no GPU limits it: Ultralytics' own default."""
LARGEST = 512
RECORD = "out-of-memory.json"

BYTES_PER_PARAMETER = 4 + 4 + 8 + 4 + 2
"""Weight, gradient, two moments of Adam, running average, and a copy in half precision."""
WORKSPACE_MIB = 256
"""What cuDNN's algorithms take beside the tensors."""
OVERHEAD: Mapping[str, float] = {"segment": 2.2}
OVERHEAD_OTHERWISE = 1.3
"""By task, what the loss, the backward pass and the allocator's rounding make of the bytes kept for a picture. Measured
against a T4's figures for yolov8s (1.2 GB for a batch of 4, 4.2 for 16) and yolov8l-seg (5.4 and 19.6)."""
SHARE = 0.9
"""Share of the grant that is planned with: pictures with very many objects need more for their loss."""


@dataclass(frozen=True)
class Need:
    """What a training needs of GPU memory, in MiB."""

    fixed: float
    per_picture: float

    def of(self, batch: int) -> float:
        """Return the need of a batch."""
        return self.fixed + batch * self.per_picture

    def largest_batch(self, mib: float) -> int:
        """Return the largest batch that fits, at least 1; multiples of 8 from 8 up, which tensor cores like."""
        fits = min(LARGEST, math.floor((mib - self.fixed) / self.per_picture))
        return max(1, fits - fits % 8 if fits >= 8 else fits)


class OutOfMemoryRecord:
    """Remembers, between the attempts of one job, the batch that did not fit."""

    def __init__(self, folder: Path, job_uid: str) -> None:
        self._file = folder / RECORD
        self._uid = job_uid

    def note(self, batch: int) -> None:
        """Remember a batch that did not fit; a full disk must not cost the job its last word."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps({"uid": self._uid, "batch": batch}).encode())
        except OSError as error:
            log.warning("%s could not be written (%s): the next attempt will not know of it", self._file, error)

    def limit(self) -> int | None:
        """Return half of the batch that did not fit; None where none was too large."""
        try:
            record = json.loads(self._file.read_bytes())
            return max(1, int(record["batch"]) // 2) if record["uid"] == self._uid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def choose_batch(job: Job, need: Need | None, granted_mib: int | None, limit: int | None) -> int:
    """Return the pictures per batch of this attempt.

    Args:
        job: the job.
        need: what the training needs, where the batch is `auto`.
        granted_mib: GPU memory that the training may take; None without a GPU.
        limit: the most that earlier attempts leave to hope for; None where none ran out of memory.

    """
    batch = job.training.batch
    if batch == "auto":
        batch = WITHOUT_GPU
        if need is not None and granted_mib is not None:
            batch = need.largest_batch(granted_mib * SHARE)
            log.info(
                "batch auto: %d, which needs about %.0f of %d MiB (%.0f, and %.1f for each picture)",
                batch, need.of(batch), granted_mib, need.fixed, need.per_picture,
            )  # fmt: skip
    if limit is not None and batch > limit:
        log.info("batch %d instead of %d: an earlier attempt ran out of memory with %d", limit, batch, 2 * limit)
        return limit
    return batch


def measure_need(model: str, task: Task, image_size: int, args: Mapping[str, Any]) -> Need:
    """Pass a picture through the model on PyTorch's meta device, which knows shapes and computes nothing."""
    import torch
    from ultralytics import YOLO

    # Mixed precision is Ultralytics' default; a picture may grow by `multi_scale`.
    mixed = args.get("amp", True) not in (False, "fp32")
    edge = math.ceil(image_size * (1 + float(args.get("multi_scale") or 0)) / 32) * 32
    precision = torch.float16 if mixed else torch.float32
    network = YOLO(model).model.to("meta", precision).train()
    weights = set()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
        weights.add(parameter.untyped_storage()._cdata)
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    # Two pictures: batch normalization cannot train on one value a channel, which small pictures come down to.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = network(torch.zeros(2, 3, edge, edge, device="meta", dtype=precision))
    per_picture = sum(kept.values()) / 2 / MIB * OVERHEAD.get(task, OVERHEAD_OTHERWISE)
    del answer  # until here, it kept alive what was counted
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Need(WORKSPACE_MIB + parameters * BYTES_PER_PARAMETER / MIB, per_picture)
