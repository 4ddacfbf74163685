"""A model's weights in one buffer of this process's own memory, and their transfer to a device.

A file that is read in its own dtype is only mapped: its pages come from the disk when they are first used, and the
kernel may drop them at any time. Copied into one buffer the weights are resident, need no file any more, and go to a
device in one piece.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

import gpu_memory
from residency import linux

ALIGNMENT = 256  # bytes, as CUDA's own allocations are aligned
STAGE_BYTES = 32 << 20
BYTES_PER_MIB = 1 << 20


@dataclass(frozen=True)
class _Place:
    parameter: nn.Parameter
    dtype: torch.dtype
    shape: torch.Size
    begin: int
    end: int


class Weights:
    """The parameters of a model, all of them views of one buffer of bytes."""

    def __init__(self, model: nn.Module, dtypes: Mapping[nn.Parameter, torch.dtype], default: torch.dtype) -> None:
        """Copy the parameters, each in its dtype of `dtypes`, else in the default; release what they were read from.

        Buffers keep their dtype: positions and frequencies in half precision are off.
        """
        self._places: list[_Place] = []
        size = 0
        for parameter in model.parameters():
            dtype = dtypes.get(parameter, default)
            end = size + parameter.numel() * dtype.itemsize
            self._places.append(_Place(parameter, dtype, parameter.shape, size, end))
            size = -(-end // ALIGNMENT) * ALIGNMENT
        self._bytes = torch.empty(size, dtype=torch.uint8)
        for place in self._places:
            view = self._view(place)
            view.copy_(place.parameter.data)
            place.parameter.data = view

    def resident_mib(self) -> int:
        """Return how many MiB of them are in this process's physical memory; 0 once they are on a device."""
        if self._bytes.device.type != "cpu":
            return 0
        return _mib(linux.resident_bytes(self._bytes.data_ptr(), len(self._bytes)))

    def move(self, device: gpu_memory.Device) -> None:
        """Copy them to a CUDA device, and free the host's copy; where the CPU computes they stay.

        Raises:
            torch.OutOfMemoryError: they do not fit into the memory reserved there.

        """
        if device.kind != "cuda":
            return
        # Pinning opens a CUDA context, so nothing is pinned before the device may be used, and little of it even then.
        blocks = [torch.empty(STAGE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        moved = torch.empty_like(self._bytes, device=device.torch_device)
        copy_in_blocks(self._bytes, moved, blocks, torch.cuda.synchronize)
        self._bytes = moved
        for place in self._places:
            place.parameter.data = self._view(place)

    def _view(self, place: _Place) -> torch.Tensor:
        return self._bytes[place.begin : place.end].view(place.dtype).view(place.shape)


def copy_in_blocks(
    source: torch.Tensor, target: torch.Tensor, blocks: Sequence[torch.Tensor], synchronize: Callable[[], object]
) -> None:
    """Copy bytes through two blocks: while the device reads one, the host writes the other.

    `synchronize` waits until the device has read what it was given.
    """
    size = len(blocks[0])
    parts = zip(torch.split(source, size), torch.split(target, size), strict=True)
    for number, (part, place) in enumerate(parts):
        block = blocks[number % 2][: len(part)]
        block.copy_(part)
        synchronize()
        place.copy_(block, non_blocking=True)
    synchronize()


def _mib(size: int) -> int:
    return -(-size // BYTES_PER_MIB)
