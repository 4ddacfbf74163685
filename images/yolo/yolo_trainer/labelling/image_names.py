# SPDX-License-Identifier: AGPL-3.0-only
"""Find images by the names that labelling tools export: a path, its end, or the file's name with a tool's prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the names of files that were uploaded."""


class ImageNames:
    """The names under which images may be exported: where they are in the data set, and where they were labelled."""

    def __init__(self, images: Mapping[str, Path], sources: Mapping[str, str]) -> None:
        """`images` and `sources` are by label file, as in `corrected_coco.read`."""
        self._exact: dict[str, set[str]] = {}
        self._ends: dict[str, set[str]] = {}
        for label, image in images.items():
            path = f"images/{Path(label).parent}/{image.name}"
            for name in (path, path.partition("/")[2], image.name, sources.get(label, image.name)):
                self._exact.setdefault(name, set()).add(label)
                for end in _ends(name):
                    self._ends.setdefault(end, set()).add(label)

    def find(self, name: str) -> list[str]:
        """Return the label files of the images that may have this name: the longest end of it that is known decides."""
        path = name.replace("\\", "/").lstrip("/").removeprefix("./")
        folder, _, last = path.rpartition("/")
        stripped = _UPLOADED.sub("", last, count=1) if _UPLOADED.match(last) else last
        for each in (path, *([f"{folder}/{stripped}".lstrip("/")] if stripped != last else [])):
            for end in _ends(each):
                found = (self._exact.get(end) if end == each else None) or self._ends.get(end)
                if found:
                    return sorted(found)
        return []


def _ends(path: str) -> Iterator[str]:
    """Return a path, and what remains of it without its first folder, without the first two, and so on."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path
