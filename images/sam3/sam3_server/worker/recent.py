"""The results that were used last: features of images, the expensive part of an answer, and embeddings of texts."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


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

    def clear(self) -> None:
        """Remove all results, so that their memory can be used."""
        self._kept.clear()


def image_key(width: int, pixels: bytearray) -> bytes:
    """Return the key of an image of this width, by its RGB pixels."""
    return hashlib.blake2b(pixels, salt=width.to_bytes(8, "big")).digest()
