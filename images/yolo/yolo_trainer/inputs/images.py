# SPDX-License-Identifier: AGPL-3.0-only
"""Check whether an image can be trained on. Ultralytics drops images that it cannot read; here the job fails.

The rules are those of Ultralytics' `check_image`, with one exception: it rewrites a JPEG that has bytes behind its end
mark, as phones and cameras make them. That is not needed, since OpenCV reads such a file, and the file is the user's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, UnidentifiedImageError

FORMATS = frozenset({"AVIF", "BMP", "DNG", "HEIC", "HEIF", "JP2", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP"})
"""What an image may be by its content, in Pillow's names."""
VERIFIED = frozenset({"JPEG", "PNG"})
"""Formats that OpenCV can decode where Pillow has verified them; others have to be decoded to know."""
SMALLEST_EDGE = 10
"""Pixels; Ultralytics drops smaller images."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION = 274
_TURNED = (5, 6, 7, 8)
"""EXIF orientations in which width and height are exchanged."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in an image file."""

    problem: str | None = None
    """Why it cannot be used, as the end of a sentence."""
    shape: tuple[int, int] | None = None
    """Height and width, upright; None where Ultralytics has to decode the image to know."""
    decoded: bool = True
    """False for a format that only decoding can judge."""


def inspect_image(file: Path) -> Inspection:
    """Open an image and check it; decode it only if that is needed."""
    try:
        with _opened(file) as image:
            image.verify()
            shape, kind = _upright(image), image.format or ""
        if min(image.size) < SMALLEST_EDGE:
            return Inspection(
                f"{image.width} x {image.height} pixels; the smallest is {SMALLEST_EDGE} x {SMALLEST_EDGE}"
            )
        if kind not in FORMATS:
            return Inspection(f"the content is {kind}, which Ultralytics does not read: save it as JPEG or PNG")
        if kind == "JPEG" and not _ends_as_jpeg(file):
            with Image.open(file) as image:
                image.load()
    except (UnidentifiedImageError, ImportError):  # Ultralytics, once imported, reaches for a package to read HEIC
        return Inspection(_unreadable(file))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Inspection(str(getattr(error, "strerror", None) or error))
    return Inspection(shape=shape, decoded=kind in VERIFIED)


def _opened(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if find_spec("pi_heif") is None or not _is_heic(file):
            raise
        from pi_heif import register_heif_opener

        register_heif_opener()
        return Image.open(file)


def _upright(image: Image.Image) -> tuple[int, int] | None:
    """Return height and width as Ultralytics' `exif_size` has them, which takes what it cannot read for upright."""
    width, height = image.size
    try:
        tags = image.tag_v2 if image.format == "TIFF" else image.getexif()  # type: ignore[attr-defined]  # of TIFF alone
        turned = tags.get(_ORIENTATION) in _TURNED
    except Exception:
        # Pillow raises in many ways on damaged EXIF data, and Ultralytics ignores all of them.
        turned = False
    if not turned:
        return height, width
    return (width, height) if image.format in {"JPEG", "MPO", "PNG", "AVIF"} else None


def _ends_as_jpeg(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-2, os.SEEK_END)
        return stream.read() == b"\xff\xd9"


def _unreadable(file: Path) -> str:
    if _is_heic(file):
        return "HEIC, which needs the Python package pi-heif: save it as JPEG, or use an image built with the package"
    return "not an image"


def _is_heic(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS
