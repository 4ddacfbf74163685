"""Variants of image files."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.unit.yolo.variants import BOX, Change, Variant, drawing, named
from tests.unit.yolo.variants_labels import DROPPED

TURNED = Image.Exif()
TURNED[274] = 6
GIF = "the content is GIF, which Ultralytics does not read: save it as JPEG or PNG"
DECODE = "OpenCV cannot decode it"


def encoded(kind: str, mode: str = "RGB", edge: int = 64, **options: Any) -> bytes:
    """Return an image in a format."""
    stream = io.BytesIO()
    drawing(3, edge).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def put(suffix: str, content: bytes | Callable[[], bytes]) -> Change:
    """Replace the first image of train."""

    def change(made: Any) -> None:
        made.first().unlink()
        image = made.folder / "images" / "train" / f"0.{suffix}"
        image.write_bytes(content if isinstance(content, bytes) else content())
        made.label(image, BOX)

    return change


JPEG, PNG, BMP, TIFF = encoded("JPEG"), encoded("PNG"), encoded("BMP"), encoded("TIFF")
WEBP, AVIF, JP2, GIF_FILE = encoded("WEBP"), encoded("AVIF"), encoded("JPEG2000"), encoded("GIF")
FINE: list[tuple[str, str, bytes]] = [
    ("a JPEG", "jpg", JPEG),
    ("a JPEG called .jpeg", "jpeg", JPEG),
    ("a JPEG called .JPG", "JPG", JPEG),
    ("a progressive JPEG", "jpg", encoded("JPEG", progressive=True)),
    ("a CMYK JPEG", "jpg", encoded("JPEG", "CMYK")),
    ("a grey JPEG", "jpg", encoded("JPEG", "L")),
    ("a turned JPEG", "jpg", encoded("JPEG", exif=TURNED)),
    ("a JPEG with a byte behind its end", "jpg", JPEG + b"\0"),
    ("a JPEG with much behind its end", "jpg", JPEG + b"trailer" * 5000),
    ("a JPEG with another behind its end and a trailer", "jpg", JPEG + encoded("JPEG", edge=32) + b"xx"),
    ("a turned JPEG with bytes behind its end", "jpg", encoded("JPEG", exif=TURNED) + b"SEFH\0\0SEFT"),
    ("an MPO called .jpg", "jpg", encoded("MPO", save_all=True, append_images=[drawing(1, 64)])),
    ("an MPO", "mpo", encoded("MPO", save_all=True, append_images=[drawing(1, 64)])),
    ("a PNG", "png", PNG),
    ("a grey PNG", "png", encoded("PNG", "L")),
    ("a PNG of 1 bit", "png", encoded("PNG", "1")),
    ("a PNG with a palette", "png", encoded("PNG", "P")),
    ("a PNG with alpha", "png", encoded("PNG", "RGBA")),
    ("a PNG of 16 bits", "png", encoded("PNG", "I;16")),
    ("a turned PNG", "png", encoded("PNG", exif=TURNED)),
    ("a BMP", "bmp", BMP),
    ("a TIFF", "tif", TIFF),
    ("a TIFF called .tiff", "tiff", TIFF),
    ("an LZW TIFF", "tif", encoded("TIFF", compression="tiff_lzw")),
    ("a grey TIFF", "tif", encoded("TIFF", "L")),
    ("a turned TIFF", "tif", encoded("TIFF", exif=TURNED)),
    ("a TIFF of two pages", "tif", encoded("TIFF", save_all=True, append_images=[drawing(1, 64)])),
    ("a WebP", "webp", WEBP),
    ("a lossless WebP", "webp", encoded("WEBP", lossless=True)),
    ("a turned WebP", "webp", encoded("WEBP", exif=TURNED)),
    ("an AVIF", "avif", AVIF),
    ("a JPEG 2000", "jp2", JP2),
    ("a PNG called .jpg", "jpg", PNG),
    ("a JPEG called .png", "png", JPEG),
    ("a WebP called .jpg", "jpg", WEBP),
    ("a BMP called .jpg", "jpg", BMP),
    ("a TIFF called .dng", "dng", TIFF),
    ("10 pixels", "png", encoded("PNG", edge=10)),
]
WRONG: list[tuple[str, str, bytes, str]] = [
    ("a GIF called .jpg", "jpg", GIF_FILE, GIF),
    ("a GIF called .png", "png", GIF_FILE, GIF),
    ("a PPM called .jpg", "jpg", encoded("PPM"), "the content is PPM"),
    ("an ICO called .png", "png", encoded("ICO"), "the content is ICO"),
    ("a TGA called .bmp", "bmp", encoded("TGA"), "the content is TGA"),
    ("text called .heic", "heic", b"no heic", "not an image"),
    ("text called .dng", "dng", b"no dng", "not an image"),
    ("text called .jpg", "jpg", b"<html>Please log in</html>", "not an image"),
    ("a HEIC without its reader", "heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pi-heif: save it as JPEG"),
    ("an empty file", "jpg", b"", "not an image"),
    ("half a JPEG", "jpg", JPEG[: len(JPEG) // 2], "0.jpg: "),
    ("half a JPEG with an end mark behind zeros", "jpg", JPEG[:300] + b"\0\0", ""),
    ("half a PNG", "png", PNG[: len(PNG) // 2], "0.png: "),
    ("a PNG with a wrong checksum", "png", PNG[:-20] + b"\1\2\3\4" + PNG[-16:], "0.png: "),
    ("half a WebP", "webp", WEBP[: len(WEBP) // 2], "0.webp: "),
    ("half an AVIF", "avif", AVIF[: len(AVIF) // 2], "0.avif: "),
    ("9 pixels", "png", encoded("PNG", edge=9), "9 x 9 pixels; the smallest is 10 x 10"),
]
DEADLY: list[tuple[str, str, bytes, str]] = [
    ("half a BMP", "bmp", BMP[: len(BMP) // 2], DECODE),
    ("half a TIFF", "tif", TIFF[: len(TIFF) // 2], DECODE),
    ("half a JPEG 2000", "jp2", JP2[: len(JP2) // 2], DECODE),
]

VARIANTS = named(
    "images",
    [
        *(Variant(name, put(suffix, content)) for name, suffix, content in FINE),
        *(Variant(name, put(suffix, content), differs=DROPPED, says=says) for name, suffix, content, says in WRONG),
        *(Variant(name, put(suffix, content), says=says) for name, suffix, content, says in DEADLY),
        Variant("a folder called 9.png", lambda s: s.file("images/train/9.png/x").touch(), differs=DROPPED,
                says="9.png"),
        Variant("a link to nothing", lambda s: s.file("images/train/9.png").symlink_to("nowhere.png"), differs=DROPPED,
                says="9.png: No such file"),
    ],
)  # fmt: skip
