"""Mutants of images: the same for a number, so that one number is enough to make a finding again."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator

from tests.fuzz import tiff_tags
from tests.fuzz.image_seeds import seeds

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Mutate = Callable[[bytes, random.Random], bytes]


def mutant(number: int) -> bytes:
    """Return the mutant of this number: mostly one mutation, seldom up to four."""
    chance = random.Random(number)
    data = chance.choice(seeds())
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(MUTATIONS)(data, chance) or b"\0"
    return with_right_checksums(data) if chance.random() < 0.7 else data


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data) - 1)]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def with_other_header(data: bytes, chance: random.Random) -> bytes:
    """The head decides what a decoder believes, so that is where damage hurts most."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        changed[chance.randrange(min(len(changed), 64))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(changed)


def repeated(data: bytes, chance: random.Random) -> bytes:
    cut = chance.randrange(len(data))
    return data[:cut] + data[cut : cut + 32] * chance.randint(2, 200) + data[cut:]


def without_a_piece(data: bytes, chance: random.Random) -> bytes:
    cut = chance.randrange(len(data))
    return data[:cut] + data[cut + chance.randint(1, 40) :]


def spliced(data: bytes, chance: random.Random) -> bytes:
    other = chance.choice(seeds())
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(1, len(data)))


def with_a_number(data: bytes, chance: random.Random) -> bytes:
    """Overwrite a field of 1, 2 or 4 bytes with a number at which code goes wrong."""
    size, code = chance.choice(((1, "B"), (2, "H"), (4, "I")))
    value = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
    at = chance.randrange(len(data))
    return data[:at] + struct.pack(chance.choice("<>") + code, value) + data[at + size :]


def with_other_tag(data: bytes, chance: random.Random) -> bytes:
    """Change tag, type, count or value of one entry of a TIFF directory, in EXIF blocks as in TIFF files."""
    order, begin = _tiff_header(data)
    if begin < 0:
        return flipped(data, chance)
    first = begin + struct.unpack_from(f"{order}I", data.ljust(begin + 8, b"\0"), begin + 4)[0] + 2
    at = first + tiff_tags.ENTRY_SIZE * chance.randrange(12)
    old = data[at : at + tiff_tags.ENTRY_SIZE]
    if len(old) < tiff_tags.ENTRY_SIZE:
        return flipped(data, chance)
    new = tiff_tags.random_entry(chance).stored(order)
    begins, ends = chance.choice(((0, 2), (2, 4), (2, 4), (4, 8), (8, 12), (0, 12)))
    return data[:at] + old[:begins] + new[begins:ends] + old[ends:] + data[at + tiff_tags.ENTRY_SIZE :]


def with_exif(data: bytes, chance: random.Random) -> bytes:
    """Add an EXIF block with odd entries, as its format holds one."""
    block = tiff_tags.random_exif(chance)
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    if data.startswith(PNG_MAGIC):
        raw = f"\nexif\n{len(block):8}\n{block.hex()}".encode()
        kind, body = chance.choice(((b"eXIf", block[6:]), (b"tEXt", b"Raw profile type exif\0" + raw)))
        return data[:33] + chunk(kind, body) + data[33:]
    if data.startswith(b"RIFF") and data[12:16] == b"VP8X":
        body = data[12:20] + bytes((data[20] | 8,)) + data[21:] + b"EXIF" + struct.pack("<I", len(block)) + block
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    return with_other_tag(data, chance)


def with_other_chunks(data: bytes, chance: random.Random) -> bytes:
    """Repeat, remove, exchange or damage a chunk of a PNG."""
    chunks = [data[begin:end] for begin, end in png_chunks(data)]
    if not chunks:
        return with_a_number(data, chance)
    place, other = chance.randrange(len(chunks)), chance.randrange(len(chunks))
    match chance.randrange(4):
        case 0:
            chunks.insert(other, chunks[place])
        case 1:
            del chunks[place]
        case 2:
            chunks[place], chunks[other] = chunks[other], chunks[place]
        case _:
            chunks[place] = chunk(chunks[place][4:8], flipped(chunks[place][8:-4] or b"\0", chance))
    return PNG_MAGIC + b"".join(chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each chunk that is whole."""
    at = len(PNG_MAGIC) if data.startswith(PNG_MAGIC) else len(data)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield at, end
        at = end


def with_right_checksums(data: bytes) -> bytes:
    """Return a PNG with each chunk's checksum made right: else a decoder looks no further."""
    changed = bytearray(data)
    for begin, end in png_chunks(data):
        changed[end - 4 : end] = struct.pack(">I", zlib.crc32(data[begin + 4 : end - 4]))
    return bytes(changed)


def _tiff_header(data: bytes) -> tuple[str, int]:
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        if (begin := data.find(magic)) >= 0:
            return order, begin
    return "<", -1


MUTATIONS: tuple[Mutate, ...] = (
    truncated,
    flipped,
    with_other_header,
    repeated,
    without_a_piece,
    spliced,
    noise,
    with_a_number,
    with_a_number,
    with_other_tag,
    with_other_tag,
    with_exif,
    with_exif,
    with_other_chunks,
)
