# SPDX-License-Identifier: AGPL-3.0-only
"""The space on the output's volume: check that checkpoints fit, and explain errors of a full volume."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from yolo_trainer.errors import ConfigInvalidError

MIB = 2**20
BYTES_PER_PARAMETER = 120
"""Of a run's files, at most and while a checkpoint is written: Ultralytics' `last.pt` and `best.pt` (10 each), the
best weights of the checkpoint (10), and three snapshots (30 each: the newest, the one before, and the next). Measured
with AdamW; with MuSGD they are 95."""
WITH_SGD = 72
"""The same for SGD, which keeps one momentum for each parameter where Adam keeps two: 3 times 4, and 3 times 20."""
PLOTS_MIB = 64
"""Plots, results.csv and descriptions, at most."""
_TORCH_WRITER = ("pytorchstreamwriter failed", "file write failed")
"""What `torch.save` raises where the disk is full, without the system's error number."""


def check_room(output: Path, parameters: int, optimizer: object = None, existing: tuple[Path, ...] = ()) -> None:
    """Check that weights and checkpoints of a model with so many parameters fit on the output's volume.

    Args:
        output: the output folder, which exists.
        parameters: the model's.
        optimizer: what `training.args.optimizer` says.
        existing: folders of this job in it, whose files will be replaced.

    Raises:
        ConfigInvalidError: they do not.

    """
    each = WITH_SGD if str(optimizer).upper() == "SGD" else BYTES_PER_PARAMETER
    needed = parameters * each / MIB + PLOTS_MIB
    free = shutil.disk_usage(output).free / MIB
    if free + sum(map(_size_mib, existing)) < needed:
        raise ConfigInvalidError(
            f"output.path {output}: the volume at {mount_point(output)} has {free:,.0f} MiB free, and checkpoints and "
            f"weights of a model with {parameters:,} parameters need {needed:,.0f} MiB: free space on the volume, or "
            "give the job a larger one"
        )


def full_volume_problem(error: BaseException, output: Path) -> str | None:
    """Return a sentence for an error that means that a volume is full; None for any other.

    `output` is what was being written where the error does not say.
    """
    number = error.errno if isinstance(error, OSError) else None
    by_torch = isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _TORCH_WRITER)
    if number not in (errno.ENOSPC, errno.EDQUOT) and not by_torch:
        return None
    named = error.filename if isinstance(error, OSError) else None
    path = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else output
    mount = mount_point(path)
    usage = shutil.disk_usage(mount)
    what = "the quota is used up" if number == errno.EDQUOT else "the volume is full"
    return (
        f"{path} could not be written: {what}. The volume at {mount} has {usage.free // MIB:,} of "
        f"{usage.total // MIB:,} MiB free; free space on it, or enlarge it. The previous checkpoint is kept"
    )


def mount_point(path: Path) -> Path:
    """Return where the volume of a path is mounted; the path need not exist."""
    path = path.absolute()
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path


def _size_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / MIB
