# SPDX-License-Identifier: AGPL-3.0-only
"""What Ultralytics' checkpoint leaves out, so that a resumed run continues as if it had never stopped.

Its own checkpoint holds averaged weights (EMA) in half precision, from which a resumed run starts with fresh random
numbers. Here the weights as they are trained, optimizer and average in full precision, gradients that wait for the next
optimizer step, and the state of every random number generator are kept with it. On the CPU, or wherever kernels are
deterministic, and with `workers: 0`, a resumed run then gives bit for bit what the uninterrupted one gives; only within
the warm-up epochs of a run that accumulates gradients over several batches may the first step differ. Data-loading
processes draw random numbers of their own that cannot be brought back: with them the order of images differs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

TEACHER = "teacher_model."
"""What the names of a distillation's teacher begin with: it is not trained, and read from its own file."""


class ResumeState:
    """Follows one Ultralytics trainer, and saves and restores its whole state."""

    def __init__(self) -> None:
        self._batch = -1
        """Number of the present batch, counted through all epochs as Ultralytics does."""
        self._last_step = -1
        """Number of the batch after which the optimizer last took a step."""
        self._restored: dict[str, Any] | None = None

    def follow(self, trainer: Any) -> None:
        """Watch the optimizer's steps. Call before the training starts."""
        step: Callable[[], None] = trainer.optimizer_step

        def watched() -> None:
            step()
            self._last_step = self._batch

        trainer.optimizer_step = watched
        trainer.add_callback("on_train_epoch_start", self._on_epoch_start)
        trainer.add_callback("on_train_batch_start", self._on_batch_start)

    def state(self, trainer: Any) -> dict[str, Any]:
        """Return everything that Ultralytics' newest checkpoint leaves out. Call when it has been written."""
        import numpy as np
        import torch

        model, loader = _unwrapped(trainer.model), trainer.train_loader
        pending = self._batch > self._last_step
        return {
            "model": {name: value for name, value in model.state_dict().items() if not name.startswith(TEACHER)},
            "ema": trainer.ema.ema.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "gradients": {name: p.grad for name, p in model.named_parameters() if pending and p.grad is not None},
            "last_step": self._last_step,
            "batch_size": trainer.batch_size,
            "random": {
                "python": random.getstate(),
                "numpy": np.random.get_state(),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "loader": loader.generator.get_state(),
            },
            "images": len(loader.dataset),
            "recent_pictures": list(getattr(loader.dataset, "buffer", [])),
        }

    def restore(self, trainer: Any, state: dict[str, Any] | None) -> None:
        """Restore the state of a trainer that Ultralytics has resumed. Call when its training starts."""
        if state is None:
            return
        model = _unwrapped(trainer.model)
        model.load_state_dict({**model.state_dict(), **state["model"]})
        trainer.ema.ema.load_state_dict(state["ema"])
        for saved, group in zip(state["optimizer"]["param_groups"], trainer.optimizer.param_groups, strict=True):
            saved["fused"] = group.get("fused")  # the device decides which kernel
        trainer.optimizer.load_state_dict(state["optimizer"])
        loader = trainer.train_loader
        same = state["batch_size"] == trainer.batch_size and state.get("images") in (None, len(loader.dataset))
        if same and loader.num_workers == 0:
            self._restored = state

    def _on_epoch_start(self, trainer: Any) -> None:
        self._batch = trainer.epoch * len(trainer.train_loader) - 1
        state, self._restored = self._restored, None
        if state is None:
            return
        self._last_step = state["last_step"]
        for name, parameter in _unwrapped(trainer.model).named_parameters():
            gradient = state["gradients"].get(name)
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        self._wait_for_step(trainer)
        _restore_random(trainer, state)

    def _wait_for_step(self, trainer: Any) -> None:
        """Delay the optimizer's step to its batch: Ultralytics steps at the first batch after it resumes."""
        due, every, batch_size = self._last_step + trainer.accumulate, trainer.accumulate, trainer.batch_size

        def at_batch(trainer: Any) -> None:
            if trainer.batch_size != batch_size:  # halved after running out of memory: the epoch begins again
                return
            # Ultralytics steps when the batch's number, plus one at first, reaches `accumulate`.
            trainer.accumulate = every if self._batch >= due else self._batch + 2

        trainer.add_callback("on_train_batch_start", at_batch)

    def _on_batch_start(self, _trainer: Any) -> None:
        self._batch += 1


def _restore_random(trainer: Any, state: dict[str, Any]) -> None:
    import numpy as np
    import torch

    loader, numbers = trainer.train_loader, state["random"]
    for index in state["recent_pictures"]:  # mosaics are made of images that are in memory
        loader.dataset.load_image(index)

    def into_loader() -> None:
        # Advance to the end of a pass through the data, as after an epoch: the sampler draws numbers there too.
        loader.iterator = loader._get_iterator()
        for _ in range(len(loader)):
            next(loader.iterator._sampler_iter)
        loader.generator.set_state(numbers["loader"])

    into_loader()
    if _mosaic_closed(trainer, trainer.epoch - 1):
        # Ultralytics closes the mosaic once more in this epoch, with a fresh iterator.
        reset: Callable[[], None] = loader.reset

        def reset_and_restore() -> None:
            reset()
            into_loader()

        loader.reset = reset_and_restore
    random.setstate(numbers["python"])
    np.random.set_state(numbers["numpy"])
    torch.set_rng_state(numbers["torch"])
    if numbers["cuda"] and len(numbers["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(numbers["cuda"])


def _mosaic_closed(trainer: Any, epoch: int) -> bool:
    close = trainer.args.close_mosaic
    return bool(close) and epoch >= trainer.epochs - close


def _unwrapped(model: Any) -> Any:
    from ultralytics.utils.torch_utils import unwrap_model

    return unwrap_model(model)
