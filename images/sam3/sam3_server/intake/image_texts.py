"""Takes the texts of images out of a JSON body before it is parsed: the parser's work is bounded."""

import heapq
import re
import secrets
from collections.abc import Sequence

from residency.errors import BodyError
from sam3_server.memory_files import Bytes

OTHER_BYTES = 1 << 20  # of a body, for everything in it that is no image
IMAGE_TEXT_BYTES = 1 << 12  # a string of several is taken out if it is longer: names of fields and prompts are shorter
STRING = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"?', re.DOTALL)


def without_images(body: Bytes, most: int) -> tuple[bytes, dict[str, str]]:
    """Return the body with a mark for its longest string, and the string by its mark.

    If the body has the name `images`, do so for its `most` longest strings: they may all be images. So a parser gets at
    most a megabyte; the field that a text belongs to is known after parsing.

    Raises:
        BodyError: the rest has more than a megabyte (413).

    """
    several = most > 1 and body.find(b'"images"') >= 0
    spans = _longest_strings(body, most, IMAGE_TEXT_BYTES) if several else _longest_strings(body, 1, 0)
    if len(body) - sum(end - start for start, end in spans) > OTHER_BYTES:
        raise too_much_beside_the_image(most if several else 1)
    return _marked(body, spans)


def _longest_strings(body: Bytes, most: int, least: int) -> list[tuple[int, int]]:
    """Return where the longest strings of more than `least` bytes begin and end, in order; some if the rest is long."""
    longest: list[tuple[int, int, int, int]] = []
    kept = 0
    for found in STRING.finditer(body):
        start, end = found.span(1)
        if end - start > least:
            heapq.heappush(longest, (end - start, -start, start, end))  # of equal ones the first
            kept += end - start
            if len(longest) > most:
                kept -= heapq.heappop(longest)[0]
        if found.end() - kept > OTHER_BYTES:
            break
    return sorted((start, end) for _, _, start, end in longest)


def _marked(body: Bytes, spans: Sequence[tuple[int, int]]) -> tuple[bytes, dict[str, str]]:
    texts: dict[str, str] = {}
    pieces: list[bytes] = []
    begin = 0
    for start, end in spans:
        mark = secrets.token_hex(16)
        texts[mark] = _unescaped(body[start:end])
        pieces += body[begin:start], mark.encode()
        begin = end
    return b"".join((*pieces, body[begin:])), texts


def _unescaped(string: bytes) -> str:
    """Return a JSON string's text. Base64 needs no escapes, but some encoders write `\\/` for a slash."""
    return string.replace(b"\\/", b"/").decode("utf-8", "replace")


def too_much_beside_the_image(images: int = 1) -> BodyError:
    """Return the refusal of a body with more than a megabyte beside its image, or beside so many images."""
    beside, fewer = ("the image", "fewer") if images == 1 else (f"{images} images", "fewer images, and fewer")
    return BodyError(
        413, f"the request has more than {OTHER_BYTES >> 20} MiB beside {beside}; send {fewer} or shorter prompts"
    )
