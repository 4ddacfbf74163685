"""How to rotate an image upright. No other metadata is used, so none can make an image fail."""

import contextlib
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_and_read(image: Image.Image) -> Image.Transpose | None:
    """Decode the pixels of an open image, as they are stored, and return how to turn them; None if they are upright.

    Raises:
        Exception: of any kind, where the pixels cannot be decoded.

    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        image.load()  # before reading the EXIF: a PNG may have it behind its pixels
        return _TURNS.get(_orientation(image))
    orientation = _orientation(image)
    with contextlib.suppress(Exception):
        _forget(image)
    image.load()
    return _TURNS.get(orientation)


def _orientation(image: Image.Image) -> int:
    value: Any = None
    with contextlib.suppress(Exception):  # the bytes decide; viewers show such an image as it is stored
        value = image.getexif().get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) else 1


def _forget(image: Image.Image) -> None:
    """Hide from Pillow what it would read, and write again, while it loads a TIFF: an oddly typed tag fails there."""
    exif = image.getexif()
    for tag in (ExifTags.Base.Orientation, *TiffTags.TAGS_V2_GROUPS):
        if tag in exif:
            del exif[tag]
