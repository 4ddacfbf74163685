"""The pixels that a worker is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

STRIP_BYTES = 1 << 18


@dataclass(frozen=True)
class RgbImage:
    """Pixels of 3 bytes, row by row from the top left, in strips that a socket takes without much copying."""

    width: int
    height: int
    strips: Sequence[bytes | memoryview]
