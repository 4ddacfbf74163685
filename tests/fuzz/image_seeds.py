"""Well-made images of every format, made by code, and the findings of earlier campaigns."""

import functools
import io
import random
from pathlib import Path
from typing import Any

from PIL import Image

from tests.fuzz import tiff_tags
from tests.fuzz.tiff_tags import ORIENTATION

CORPUS = Path(__file__).parent / "corpus" / "images"
MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "F"),
    "GIF": ("P", "L"),
    "AVIF": ("RGB", "RGBA"),
}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "JPEG": ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}),
    "PNG": ({}, {"optimize": True}, {"dpi": (72, 72)}),
    "WEBP": ({}, {"lossless": True}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"}),
}
ANIMATED = ("GIF", "WEBP", "PNG", "TIFF")
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(mode: str, width: int, height: int) -> Image.Image:
    """Return a gradient with an edge: every mirror image and every turn of it differs."""
    if mode in ("I;16", "F"):
        return Image.new(mode, (width, height), 300)
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    image.paste("red", (0, 0, width // 2, height // 3))
    return image.convert(mode) if mode != "LAB" else Image.new("LAB", (width, height))


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Return the seeds, the same on each call and on each machine with the same libraries."""
    chance = random.Random(1)
    made = []
    for kind, modes in MODES.items():
        for mode in modes:
            for options in VARIANTS.get(kind, ({},)):
                image = drawn(mode, chance.randint(2, 40), chance.randint(2, 40))
                turned = {"exif": _orientation(chance.randint(1, 8))} if kind in WITH_EXIF else {}
                made.append(encoded(image, kind, **options, **turned))
    for kind in ANIMATED:
        frames = [drawn("RGB", 12, 9), drawn("RGB", 12, 9).rotate(180)]
        made.append(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    made.append(tiff_tags.tiff(5, 4, bytes(60), [tiff_tags.short(ORIENTATION, 6)]))
    return (*made, *found())


def found() -> tuple[bytes, ...]:
    """Return what earlier campaigns found, each of which was answered with a 5xx once."""
    return tuple(path.read_bytes() for path in sorted(CORPUS.iterdir()))


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    exif[tiff_tags.SOFTWARE] = "seed"
    return exif
