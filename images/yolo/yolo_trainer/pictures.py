# SPDX-License-Identifier: AGPL-3.0-only
"""Whether a picture can be trained on. Ultralytics drops those that it cannot read; a job should fail."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""What Ultralytics reads."""
NEEDS_A_PLUGIN = frozenset({".dng", ".heic", ".heif"})
"""What Pillow reads only with a plugin that Ultralytics brings: left to it."""
SMALLEST_EDGE = 10
"""Pixels; Ultralytics drops smaller pictures."""


def picture_problem(file: Path) -> str | None:
    """Return why a picture cannot be used, or None."""
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            if picture.format == "JPEG" and not _ends_as_jpeg(file):
                picture.load()
            else:
                picture.verify()
    except (UnidentifiedImageError, ImportError):  # Ultralytics, once imported, reaches for a package to read HEIC
        return None if file.suffix.lower() in NEEDS_A_PLUGIN else "not a picture"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(getattr(error, "strerror", None) or error)
    if min(width, height) < SMALLEST_EDGE:
        return f"{width} x {height} pixels; the smallest is {SMALLEST_EDGE} x {SMALLEST_EDGE}"
    return None


def _ends_as_jpeg(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-2, os.SEEK_END)
        return stream.read() == b"\xff\xd9"
