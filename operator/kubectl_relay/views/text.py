"""Texts of jobs, trainers and Events, made safe for a terminal."""

import unicodedata

_KEPT = "\n\t"
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of the text around them: what is shown would not be what is there."""


def visible(text: str) -> str:
    """Replace control characters: users choose the trainer's image, and its message must not control a terminal."""
    return "".join("\ufffd" if _steers(each) else each for each in text)


def _steers(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _DIRECTIONS or unicodedata.category(character) in {"Cc", "Cs"}
