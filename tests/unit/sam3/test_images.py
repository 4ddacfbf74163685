"""Decoding: orientation, transparency, limits, and uploads that are no images."""

import io
import itertools
import re
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sam3_server.errors import ImageError, ImageTooLargeError
from sam3_server.intake import image_decoder
from tests.fuzz import tiff_tags
from tests.fuzz.image_mutants import chunk
from tests.fuzz.tiff_tags import EXIF_IFD, GPS_IFD, ORIENTATION, SOFTWARE, X_RESOLUTION, Entry, short

LIMIT = 10_000

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_pixels_arrive_row_by_row(kind: str) -> None:
    image = Image.new("RGB", (3, 2), "red")
    image.putpixel((2, 0), (1, 2, 3))
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = image_decoder.decode(encoded(image, kind, **options), LIMIT)
    assert (decoded.width, decoded.height) == (3, 2)
    assert b"".join(decoded.strips) == bytes([255, 0, 0, 255, 0, 0, 1, 2, 3] + [255, 0, 0] * 3)


def test_large_images_come_in_strips_of_whole_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((7, 11), 90).convert("RGB")
    for size, rows in ((1, 1), (7 * 3 * 4 + 1, 4), (10_000, 11)):
        monkeypatch.setattr(image_decoder, "STRIP_BYTES", size)
        strips = image_decoder.decode(encoded(noise), LIMIT).strips
        assert len(strips[0]) == 7 * 3 * rows
        assert b"".join(strips) == noise.tobytes()


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    decoded = image_decoder.decode(encoded(image, exif=exif), LIMIT)
    assert (decoded.width, decoded.height) == (2, 4)
    assert decoded.strips[0][3:6] == b"\xff\xff\xff"  # the top left corner is now the top right one


def test_transparency_is_blended_with_white() -> None:
    decoded = image_decoder.decode(encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 0))), LIMIT)
    assert b"".join(decoded.strips) == b"\xff\xff\xff"


def test_grey_becomes_rgb() -> None:
    assert image_decoder.decode(encoded(Image.new("L", (1, 1), 7)), LIMIT).strips == (bytes([7, 7, 7]),)


def test_more_pixels_than_allowed_are_refused_with_both_numbers() -> None:
    with pytest.raises(ImageTooLargeError, match=r"101 x 100 .* 10000"):
        image_decoder.decode(encoded(Image.new("L", (101, 100))), LIMIT)


@pytest.mark.parametrize("size", [(1, 32_769), (32_769, 1)])
def test_an_image_has_sides_of_a_length_that_can_be_scaled(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLargeError, match="sides of 32768 are allowed"):
        image_decoder.decode(encoded(Image.new("L", size)), 1_000_000)
    assert image_decoder.decode(encoded(Image.new("L", (1, 32_768))), 1_000_000).height == 32_768


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.4 no image", encoded(Image.new("L", (9, 9)))[:20]])
def test_what_is_no_image_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(ImageError):
        image_decoder.decode(data, LIMIT)


def test_a_truncated_image_is_refused_when_decoded() -> None:
    whole = encoded(Image.effect_noise((90, 90), 50), "JPEG")
    with pytest.raises(ImageError, match="damaged"):
        image_decoder.decode(whole[: len(whole) // 2], LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("most", [255, 4095, 65535])
def test_sixteen_bits_are_refused_for_every_range(kind: str, channels: int, most: int) -> None:
    """Pillow keeps the upper 8 bits of 16-bit colour: 12 bits in 16 would come out black."""
    with pytest.raises(ImageError, match="more than 8 bits per channel; convert it to 8 bits"):
        image_decoder.decode(sixteen_bits(kind, channels, most), LIMIT)


def sixteen_bits(kind: str, channels: int, most: int) -> bytes:
    values = np.linspace(0, most, 20 * 30 * channels).astype(np.uint16).reshape(20, 30, channels)
    done, encoded = cv2.imencode(f".{kind.lower()}", values)
    assert done
    return encoded.tobytes()


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_avif_is_read_and_scaled_by_the_depth_that_it_states(depth: int) -> None:
    grey = np.full((16, 24, 3), 100 << (depth - 8), np.uint8 if depth == 8 else np.uint16)
    done, data = cv2.imencode(".avif", grey, [cv2.IMWRITE_AVIF_DEPTH, depth])
    assert done
    decoded = image_decoder.decode(data.tobytes(), LIMIT)
    assert (decoded.width, decoded.height) == (24, 16)
    assert all(abs(value - 100) <= 2 for strip in decoded.strips for value in strip)


@pytest.mark.parametrize(
    "brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0", b"msf1\0\0\0\0hevc"]
)
def test_heic_is_refused_by_its_name(brands: bytes) -> None:
    box = b"ftyp" + brands
    with pytest.raises(ImageError, match="HEIC images are not supported; convert the image to JPEG, PNG or AVIF"):
        image_decoder.decode((len(box) + 4).to_bytes(4, "big") + box + bytes(200), LIMIT)


ENCODINGS: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"restart_marker_blocks": 2},
    {"subsampling": 0, "optimize": True},
]


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(100)], ids=["nothing", "half of it", "zeros"])
def test_a_jpeg_without_its_end_mark_is_the_same_image(options: dict[str, Any], end: bytes) -> None:
    whole = encoded(noise(50, 43), "JPEG", **options)
    assert image_decoder.decode(whole[:-2] + end, LIMIT) == image_decoder.decode(whole, LIMIT)


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
def test_a_jpeg_that_lacks_pixels_is_refused_wherever_it_is_cut(options: dict[str, Any]) -> None:
    whole = encoded(noise(50, 43), "JPEG", **options)
    last_block = 40  # bytes: it may be decoded from less of them by chance
    taken = [end for end in range(2, len(whole) - last_block) if is_decoded(whole[:end])]
    between_scans = [end for end in taken if re.search(b"\xff[\xc4\xda]", whole[end - 60 : end + 4])]
    assert taken == between_scans, "there a progressive image is whole, with less detail"
    assert not taken or "progressive" in options


def is_decoded(data: bytes) -> bool:
    try:
        image_decoder.decode(data, LIMIT)
    except ImageError:
        return False
    return True


STORED = Image.linear_gradient("L").resize((20, 12)).convert("RGB")
KINDS = ("JPEG", "PNG", "WEBP", "TIFF")


def with_entries(kind: str, entries: list[Entry]) -> bytes:
    if kind == "TIFF":
        return tiff_tags.tiff(*STORED.size, STORED.tobytes(), entries)
    return encoded(STORED, kind, exif=tiff_tags.exif(entries))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tag", [SOFTWARE, X_RESOLUTION, EXIF_IFD, GPS_IFD, 0x0128, 0x9286, 0xA005])
def test_no_tag_can_make_an_image_fail_that_has_to_be_turned(kind: str, tag: int) -> None:
    upright = np.asarray(STORED.transpose(Image.Transpose.ROTATE_270), int)
    for type_of_value, count in itertools.product(range(15), (0, 1, 3, 2**31)):
        odd = Entry(tag, type_of_value, count, b"\x08\0\0\0")
        turned = image_decoder.decode(with_entries(kind, [odd, short(ORIENTATION, 6)]), LIMIT)
        assert (turned.width, turned.height) == (12, 20), odd
        pixels = np.frombuffer(b"".join(turned.strips), np.uint8).reshape(20, 12, 3)
        assert abs(pixels - upright).max() <= (0 if kind in ("PNG", "TIFF") else 12), odd


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [Entry(ORIENTATION, kind, 1, b"\x09\0\0\0") for kind in range(14)])
def test_an_orientation_that_is_none_leaves_the_image_as_it_is_stored(kind: str, value: Entry) -> None:
    decoded = image_decoder.decode(with_entries(kind, [value]), LIMIT)
    assert (decoded.width, decoded.height) == STORED.size


@pytest.mark.parametrize("type_of_value", range(14))
def test_avif_is_rotated_by_its_own_mark_and_not_by_its_exif(type_of_value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[SOFTWARE] = 6, "abc"
    data = encoded(STORED, "AVIF", exif=exif)
    entry = struct.pack(">HHI", SOFTWARE, 2, 4)
    assert data.count(entry) == 1
    odd = data.replace(entry, struct.pack(">HHI", SOFTWARE, type_of_value, 4))
    decoded = image_decoder.decode(odd, LIMIT)
    assert (decoded.width, decoded.height) == (12, 20)


def test_an_image_with_the_exif_behind_its_pixels_is_turned() -> None:
    data = encoded(STORED, "PNG")
    block = chunk(b"eXIf", tiff_tags.directory([short(ORIENTATION, 6)]))
    decoded = image_decoder.decode(data[:-12] + block + data[-12:], LIMIT)
    assert (decoded.width, decoded.height) == (12, 20)
