# SPDX-License-Identifier: AGPL-3.0-only
"""Split images by a seed, with images that look nearly the same on one side."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_trainer.job.labelling import SplitShares

_EDGE = 8
_ALIKE = 6
"""Bits of 64 in which the hashes of images that look alike may differ."""


def difference_hash(file: Path) -> int:
    """Return 64 bits, each true if a cell of the image is brighter than its right neighbour (a difference hash)."""
    with Image.open(file) as image:
        image.draft("L", (_EDGE * 8, _EDGE * 8))  # a JPEG is decoded at a fraction of its size
        cells = np.asarray(image.convert("L").resize((_EDGE + 1, _EDGE), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, :-1] > cells[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def groups_of(hashes: Mapping[str, int]) -> list[list[str]]:
    """Return the images in groups that look alike; an image that resembles two groups joins them."""
    names = sorted(hashes)
    values = np.array([hashes[name] for name in names], dtype=np.uint64)
    leaders = list(range(len(names)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = leaders[leaders[place]]
            place = leaders[place]
        return place

    for place in range(len(names)):
        for other in _alike(values, place):
            low, high = sorted((leader(place), leader(int(other))))
            leaders[high] = low
    groups: dict[int, list[str]] = {}
    for place, name in enumerate(names):
        groups.setdefault(leader(place), []).append(name)
    return list(groups.values())


def split_images(groups: Sequence[Sequence[str]], shares: SplitShares, seed: int) -> dict[str, list[str]]:
    """Return the images of each split; whole groups go to `val` and `test` until these have their share.

    The largest groups stay in `train` if there are smaller ones: a split is then not one scene.
    """
    total = sum(map(len, groups))
    order = sorted(groups, key=lambda group: group[0])
    random.Random(seed).shuffle(order)  # noqa: S311 - a repeatable order
    wanted = {"val": max(1, round(shares.val * total)), "test": round(shares.test * total)}
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for group in order:
        split = next((name for name, count in wanted.items() if len(splits[name]) + len(group) <= count), "train")
        splits[split].extend(group)
    if not splits["val"] and len(groups) > 1:
        smallest = min(order, key=len)
        splits["val"] = list(smallest)
        for name in ("train", "test"):
            splits[name] = [image for image in splits[name] if image not in smallest]
    return {name: sorted(images) for name, images in splits.items() if images}


def _alike(values: NDArray[np.uint64], place: int) -> NDArray[np.intp]:
    """Return the places after this one whose hashes differ in a few bits at most."""
    different = np.bitwise_count(values[place + 1 :] ^ values[place])
    return np.flatnonzero(different <= _ALIKE) + place + 1
