"""The results that were used last: features of images, the expensive part of an answer, and embeddings of texts."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")
KEY_BYTES = 32


class Recent(Generic[Result]):
    """Keeps the `most` results that were used last, until the worker process ends."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Result] = OrderedDict()

    def get_or_compute(self, key: bytes, compute: Callable[[], Result]) -> tuple[Result, bool]:
        """Return the result of a key, and whether it was kept; else compute it."""
        known = key in self._kept
        result = self._kept.pop(key) if known else compute()
        if self._most:
            self._kept[key] = result
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return result, known

    def get(self, key: bytes) -> Result | None:
        """Return the result of a key, if it is kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def clear(self) -> None:
        """Remove all results, so that their memory can be used."""
        self._kept.clear()


def image_key(width: int, pixels: bytearray) -> bytes:
    """Return the key of an image of this width, by its RGB pixels: only who has the image can know it."""
    return hashlib.blake2b(pixels, digest_size=KEY_BYTES, salt=width.to_bytes(8, "big")).digest()
