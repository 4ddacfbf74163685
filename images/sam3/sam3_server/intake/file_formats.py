"""Checks of an image file's bytes, where Pillow does not look or fails on what is not needed. Pure."""

import hashlib

HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
END_OF_IMAGE = b"\xff\xd9"
_NOISE = hashlib.shake_128(b"noise").digest(1024).replace(b"\xff", b"")  # 0xFF would begin a marker
_MORE_DATA = _NOISE + b"".join(bytes((0xFF, restart)) + _NOISE for restart in range(0xD0, 0xD8))


def is_jpeg(data: bytes) -> bool:
    """Whether the data begins as a JPEG does."""
    return data.startswith(b"\xff\xd8\xff")


def ended_jpegs(data: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG that lacks its end marker with two different endings.

    Decoders draw what is missing from the bytes that follow, so where pixels are missing the two images differ.
    """
    begun = data.rstrip(b"\xff")  # half an end marker
    return begun + END_OF_IMAGE, begun + _MORE_DATA + END_OF_IMAGE


def is_heic(data: bytes) -> bool:
    """Whether it is of the format in which iPhones store photographs."""
    brands = _brands(data)
    return not brands.isdisjoint(HEIC_BRANDS) and brands.isdisjoint(AVIF_BRANDS)


def without_avif_exif(data: bytes) -> bytes:
    """Return an AVIF whose EXIF block is not found; return anything else as it is.

    The format has the orientation outside of EXIF (`irot`, `imir`). Pillow writes it into a copy of the EXIF block, and
    fails there on a tag of the wrong type.
    """
    if _brands(data).isdisjoint(AVIF_BRANDS):
        return data
    end = _end_of_metadata(data)
    return data[:end].replace(b"Exif", b"none") + data[end:]


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file: the major one and those it is compatible with."""
    if data[4:8] != b"ftyp":
        return set()
    box = data[8 : min(int.from_bytes(data[:4]), 256)]
    return {box[start : start + 4] for start in range(0, len(box), 4)}


def _end_of_metadata(data: bytes) -> int:
    """Return where the `meta` box behind the `ftyp` box ends."""
    begin = int.from_bytes(data[:4])
    return begin + int.from_bytes(data[begin : begin + 4])
