"""Decoding: orientation, transparency, limits, and uploads that are no images."""

import io
from typing import Any

import pytest
from PIL import Image

from sam3_server import images
from sam3_server.errors import ImageError, ImageTooLargeError

LIMIT = 10_000


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_pixels_arrive_row_by_row(kind: str) -> None:
    image = Image.new("RGB", (3, 2), "red")
    image.putpixel((2, 0), (1, 2, 3))
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = images.decode(encoded(image, kind, **options), LIMIT)
    assert (decoded.width, decoded.height) == (3, 2)
    assert b"".join(decoded.strips) == bytes([255, 0, 0, 255, 0, 0, 1, 2, 3] + [255, 0, 0] * 3)


def test_large_images_come_in_strips_of_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((7, 11), 90).convert("RGB")
    for size, rows in ((1, 1), (7 * 3 * 4 + 1, 4), (10_000, 11)):
        monkeypatch.setattr(images, "STRIP_BYTES", size)
        strips = images.decode(encoded(noise), LIMIT).strips
        assert len(strips[0]) == 7 * 3 * rows
        assert b"".join(strips) == noise.tobytes()


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    decoded = images.decode(encoded(image, exif=exif), LIMIT)
    assert (decoded.width, decoded.height) == (2, 4)
    assert decoded.strips[0][3:6] == b"\xff\xff\xff"  # the top left corner is now the top right one


def test_transparency_lies_on_white() -> None:
    decoded = images.decode(encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 0))), LIMIT)
    assert b"".join(decoded.strips) == b"\xff\xff\xff"


def test_grey_becomes_rgb() -> None:
    assert images.decode(encoded(Image.new("L", (1, 1), 7)), LIMIT).strips == (bytes([7, 7, 7]),)


@pytest.mark.parametrize("read", [images.check, images.decode])
def test_more_pixels_than_allowed_are_refused_with_both_numbers(read: Any) -> None:
    with pytest.raises(ImageTooLargeError, match=r"101 x 100 .* 10000"):
        read(encoded(Image.new("L", (101, 100))), LIMIT)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.4 no image", encoded(Image.new("L", (9, 9)))[:20]])
def test_what_is_no_image_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(ImageError):
        images.check(data, LIMIT)


def test_a_truncated_image_is_refused_when_decoded() -> None:
    whole = encoded(Image.effect_noise((90, 90), 50), "JPEG")
    images.check(whole[: len(whole) // 2], LIMIT)
    with pytest.raises(ImageError, match="damaged"):
        images.decode(whole[: len(whole) // 2], LIMIT)


def test_sixteen_bits_are_refused_rather_than_clipped_to_white() -> None:
    with pytest.raises(ImageError, match="convert it to 8 bits"):
        images.decode(encoded(Image.new("I;16", (2, 2), 4000)), LIMIT)
