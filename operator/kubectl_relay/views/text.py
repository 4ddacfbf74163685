"""Texts of jobs, trainers and Events, made safe for a terminal."""

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator

_KEPT = "\n\t"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""A terminal's control sequence, such as a colour."""
_BREAK = re.compile(r"\r\n|\n|\r")
_LONGEST = 1 << 16
"""Characters after which a line is printed before its end has come."""
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of the text around them: what is shown would not be what is there."""


def visible(text: str) -> str:
    """Replace control characters: users choose the trainer's image, and its message must not control a terminal."""
    return "".join("\ufffd" if _steers(each) else each for each in text)


def log_lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a log that comes in parts, each when it is complete, without colours.

    A progress bar that draws over itself has a line for each drawing.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for part in parts:
        rest += decoder.decode(part)
        kept = rest[-1:] if rest.endswith("\r") else ""  # a line feed may follow
        *lines, last = _BREAK.split(rest[: len(rest) - len(kept)])
        rest = last + kept
        if len(rest) > _LONGEST:
            lines.append(rest)
            rest = ""
        yield from map(_log_line, lines)
    if rest:
        yield _log_line(rest.rstrip("\r"))


def _log_line(text: str) -> str:
    return visible(_SEQUENCE.sub("", text))


def _steers(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _DIRECTIONS or unicodedata.category(character) in {"Cc", "Cs"}
