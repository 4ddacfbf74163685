"""The vision features of the latest images: the expensive part of an answer, and the same for every prompt."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class FeatureCache:
    """Keeps the features of the `most` images that were used last, until the worker process ends."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Any] = OrderedDict()

    def get_or_compute(self, width: int, pixels: bytearray, compute: Callable[[], Any]) -> tuple[Any, bool]:
        """Return the features of these RGB pixels, and whether they were cached; else compute them."""
        key = hashlib.blake2b(pixels, salt=width.to_bytes(8, "big")).digest()
        known = key in self._kept
        features = self._kept.pop(key) if known else compute()
        if self._most:
            self._kept[key] = features
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return features, known

    def clear(self) -> None:
        """Remove all features, so that their memory can be used."""
        self._kept.clear()
