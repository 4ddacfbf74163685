# SPDX-License-Identifier: AGPL-3.0-only
"""The batch size: the job's own, or the largest that fits into the granted memory; half of it after an OOM error.

Ultralytics' `batch=-1` probes until memory runs out, which on a shared GPU takes memory from other processes. Here the
memory of one image is counted: the bytes that autograd keeps of it for the backward pass, in the precision of the
training run, measured in one pass of the real model on the CPU.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from yolo_trainer.inputs.weights import build
from yolo_trainer.job.spec import Job, Task
from yolo_trainer.storage.atomic_file import write_atomically

log = logging.getLogger(__name__)

MIB = 2**20
DEFAULT_BATCH = 16
"""Batch size of `auto` without a GPU: Ultralytics' own default."""
MAX_BATCH = 512
STEPS_PER_EPOCH = 32
"""Batches that an epoch has at least with `auto`, unless 16 images to a batch are fewer already."""
RECORD = "out-of-memory.json"

BYTES_PER_PARAMETER = 4 + 4 + 8 + 4 + 2
"""Weight, gradient, two moments of Adam, running average, and a copy in half precision."""
TEACHER_BYTES = 4
"""For each of a teacher's parameters: it is not trained, and its weights are in single precision."""
SMALL_EDGE = 64
WORKSPACE_MIB = 256
"""What cuDNN's algorithms take beside the tensors."""
OVERHEAD: Mapping[str, float] = {"segment": 2.2}
OVERHEAD_OTHERWISE = 1.3
"""By task, what the loss, the backward pass and the allocator's rounding make of the bytes kept for an image. Measured
against a T4's figures for yolov8s (1.2 GB for a batch of 4, 4.2 for 16) and yolov8l-seg (5.4 and 19.6)."""
SHARE = 0.9
"""Share of the granted memory that is planned with: the loss of images with very many objects needs more."""


@dataclass(frozen=True)
class MemoryNeed:
    """GPU memory that a training run needs, in MiB."""

    fixed: float
    per_image: float

    def of(self, batch: int) -> float:
        """Return the memory that a batch needs."""
        return self.fixed + batch * self.per_image

    def largest_batch(self, mib: float) -> int:
        """Return the largest batch that fits, at least 1; from 8 up a multiple of 8, which suits tensor cores."""
        fits = min(MAX_BATCH, math.floor((mib - self.fixed) / self.per_image))
        return max(1, fits - fits % 8 if fits >= 8 else fits)


class OutOfMemoryRecord:
    """Remembers, between the attempts of one job, the smallest batch that did not fit."""

    def __init__(self, folder: Path, job_uid: str) -> None:
        self._file = folder / RECORD
        self._uid = job_uid

    def add(self, batch: int) -> None:
        """Record a batch that did not fit. An error is only logged, so that the attempt can still be reported."""
        earlier = self.smallest_failed()
        smallest = batch if earlier is None else min(batch, earlier)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps({"uid": self._uid, "batch": smallest}).encode())
        except OSError as error:
            log.warning("%s could not be written (%s): the next attempt may not reduce its batch", self._file, error)

    def smallest_failed(self) -> int | None:
        """Return the smallest batch that did not fit; None where none was too large."""
        try:
            record = json.loads(self._file.read_bytes())
            return int(record["batch"]) if record["uid"] == self._uid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def choose_batch(job: Job, need: MemoryNeed | None, granted_mib: int | None, failed: int | None, images: int) -> int:
    """Return the images per batch of this attempt.

    Args:
        job: the job.
        need: what the training needs, where the batch is `auto`.
        granted_mib: GPU memory that the training may take; None without a GPU.
        failed: the smallest batch with which this job ran out of memory; None where it did not.
        images: how many images are trained on.

    """
    wanted = job.training.batch
    batch = _fitting(need, granted_mib, images) if wanted == "auto" else wanted
    half = None if failed is None else max(1, failed // 2)
    if half is not None and batch > half:
        log.info("batch %d instead of %d: the job ran out of memory with %d", half, batch, failed)
        return half
    return batch


def _fitting(need: MemoryNeed | None, granted_mib: int | None, images: int) -> int:
    """Return the batch that fits the memory granted and the number of images."""
    if need is None or granted_mib is None:
        return DEFAULT_BATCH
    batch = min(need.largest_batch(granted_mib * SHARE), largest_for(images))
    log.info(
        "batch auto: %d for %d images, which needs about %.0f of %d MiB (%.0f, and %.1f for each image)",
        batch, images, need.of(batch), granted_mib, need.fixed, need.per_image,
    )  # fmt: skip
    return batch


def largest_for(images: int) -> int:
    """Return the largest batch that leaves a set of so many images a sensible number of steps in each epoch.

    With a larger batch, an epoch would have few steps, and the model would learn little in it.
    Ultralytics' default is never too large.
    """
    steps = images // STEPS_PER_EPOCH
    return max(DEFAULT_BATCH, steps - steps % 8)


def images_trained(images: int, fraction: object) -> int:
    """Return how many of a set's images Ultralytics trains on: `fraction` is a share, a count, or a list by split."""
    wanted = fraction[0] if isinstance(fraction, list) and fraction else fraction
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or wanted <= 0:
        return images
    return max(1, round(images * wanted)) if wanted <= 1 else min(images, int(wanted))


def measure_need(model: str, task: Task, image_size: int, args: Mapping[str, Any]) -> MemoryNeed:
    """Pass images through the model on PyTorch's meta device, which knows shapes and computes nothing.

    A teacher (`distill_model`) counts with its weights, its features and what the loss between the two keeps.
    """
    import torch

    # Mixed precision is Ultralytics' default; an image may grow by `multi_scale`.
    mixed = args.get("amp", True) not in (False, "fp32")
    edge = math.ceil(image_size * (1 + float(args.get("multi_scale") or 0)) / 32) * 32
    precision = torch.float16 if mixed else torch.float32
    network = build(model)
    teacher = args.get("distill_model")
    distilled = _distilled(network, teacher) if teacher else None
    (distilled or network).to("meta", precision)
    network.train()
    parameters, kept, weights = 0, _Kept(), set()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
        parameters += parameter.numel()
    for parameter in (distilled or network).parameters():
        weights.add(parameter.untyped_storage()._cdata)
    # Two images: batch normalization cannot train on one value a channel, which small images come down to.
    images = torch.zeros(2, network.yaml.get("channels", 3), edge, edge, device="meta", dtype=precision)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.count(tensor, weights), lambda tensor: tensor):
        answer = network(images) if distilled is None else _distillation(distilled, images, kept)
    per_image = kept.bytes / 2 / MIB * OVERHEAD.get(task, OVERHEAD_OTHERWISE)
    del answer  # until here, it kept alive what was counted
    fixed = WORKSPACE_MIB + parameters * BYTES_PER_PARAMETER / MIB
    if distilled is not None:
        fixed += sum(weight.numel() for weight in distilled.teacher_model.parameters()) * TEACHER_BYTES / MIB
        fixed += sum(weight.numel() for weight in distilled.projector.parameters()) * BYTES_PER_PARAMETER / MIB
    return MemoryNeed(fixed, per_image)


class _Kept:
    """Counts the storages that are kept for the backward pass."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        return sum(self._storages.values())

    def count(self, tensor: Any, weights: Set[int] = frozenset()) -> Any:
        """Count a tensor's storage, unless it is one of the weights, and return the tensor."""
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            self._storages[storage._cdata] = storage.nbytes()
        return tensor


def _distilled(student: Any, teacher: str) -> Any:
    """Return Ultralytics' pair of student and teacher."""
    from ultralytics.nn.distill_model import DistillationModel

    student.args = SimpleNamespace(imgsz=SMALL_EDGE, dis=1.0)  # the pair passes an image through both, to see sizes
    pair = DistillationModel(teacher_model=teacher, student_model=student)
    pair.teacher_model.train()  # else its head computes boxes, which the meta device cannot
    return pair


def _distillation(pair: Any, images: Any, kept: _Kept) -> list[Any]:
    """Do what a training step does with a teacher, up to the loss between the features of the two."""
    import torch

    with torch.no_grad():
        pair.teacher_model(images)
    answers = [pair.student_model(images)]
    for level, projector in enumerate(pair.projector):
        features = pair.decouple_outputs(pair._teacher_feats[level])
        kept.count(features)
        # Autocast computes a mean of squares in single precision.
        learned, wanted = projector(pair.decouple_outputs(pair._student_feats[level])).float(), features.float()
        scores = torch.zeros_like(wanted[:, :1])
        answers.append((torch.nn.functional.mse_loss(learned, wanted, reduction="none") * scores).sum())
    return answers
