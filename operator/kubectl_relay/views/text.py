"""Text that others wrote, made fit for a terminal."""

import unicodedata

_KEPT = "\n\t"
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of the text around them: what is shown would not be what is there."""


def visible(text: str) -> str:
    """Replace control characters: anybody's image may be the trainer's, and a message must not steer a terminal."""
    return "".join("\ufffd" if _steers(each) else each for each in text)


def _steers(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _DIRECTIONS or unicodedata.category(character) in {"Cc", "Cs"}
