"""Directories of TIFF tags by hand: EXIF blocks and TIFF files with entries that no library writes."""

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass

ORIENTATION, SOFTWARE, X_RESOLUTION, EXIF_IFD, GPS_IFD = 0x0112, 0x0131, 0x011A, 0x8769, 0x8825
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED_LONG, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 7, 9, 11, 12
ENTRY_SIZE, HEADER_SIZE = 12, 8


@dataclass(frozen=True)
class Entry:
    """One entry as it is stored: its four bytes of value, or of an offset, are what they are."""

    tag: int
    kind: int
    count: int
    value: bytes

    def stored(self, order: str) -> bytes:
        return struct.pack(f"{order}HHI", self.tag, self.kind, self.count) + self.value[:4].ljust(4, b"\0")


def short(tag: int, value: int, order: str = "<") -> Entry:
    return Entry(tag, SHORT, 1, struct.pack(f"{order}H", value))


def directory(entries: Iterable[Entry], order: str = "<", behind: bytes = b"") -> bytes:
    """Return header and first directory, with `behind` after it."""
    stored = [entry.stored(order) for entry in sorted(entries, key=lambda entry: entry.tag)]
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", HEADER_SIZE) + struct.pack(f"{order}H", len(stored))
    return head + b"".join(stored) + bytes(4) + behind


def exif(entries: Iterable[Entry], order: str = "<", behind: bytes = b"") -> bytes:
    return b"Exif\0\0" + directory(entries, order, behind)


def tiff(width: int, height: int, pixels: bytes, extra: Iterable[Entry] = ()) -> bytes:
    """Return an uncompressed RGB file of 8 bits per channel with further entries."""
    others = list(extra)
    start = HEADER_SIZE + 2 + ENTRY_SIZE * (9 + len(others)) + 4
    known = [
        short(256, width),
        short(257, height),
        Entry(258, SHORT, 3, struct.pack("<I", start)),
        short(259, 1),
        short(262, 2),
        Entry(273, LONG, 1, struct.pack("<I", start + 6)),
        short(277, 3),
        short(278, height),
        Entry(279, LONG, 1, struct.pack("<I", len(pixels))),
    ]
    return directory([*known, *others], behind=struct.pack("<HHH", 8, 8, 8) + pixels)


def random_entry(chance: random.Random) -> Entry:
    tag = chance.choice((SOFTWARE, X_RESOLUTION, EXIF_IFD, GPS_IFD, 0x0128, 0x0132, 0xA005, chance.randrange(65536)))
    kind = chance.choice((*range(14), chance.randrange(65536)))
    count = chance.choice((0, 1, 1, 2, 4, 5, 100, 65536, 2**31, 2**32 - 1))
    return Entry(tag, kind, count, chance.choice((bytes(4), b"\x08\0\0\0", chance.randbytes(4))))


def random_exif(chance: random.Random) -> bytes:
    """Return a block with an orientation that makes sense and entries that do not."""
    order = chance.choice("<>")
    entries = [random_entry(chance) for _ in range(chance.randint(1, 5))]
    if chance.random() < 0.8:
        entries.append(short(ORIENTATION, chance.randint(0, 9), order))
    return exif(entries, order, chance.randbytes(chance.randint(0, 40)))
