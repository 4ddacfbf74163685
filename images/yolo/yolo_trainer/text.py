# SPDX-License-Identifier: AGPL-3.0-only
"""Text from outside: files of users, and messages of libraries."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EncodingError(Exception):
    """A file is not UTF-8; the message is the end of a sentence about it."""


def without_colours(text: str) -> str:
    """Return a text without terminal colours."""
    return _COLOURS.sub("", text)


def plain(text: str) -> str:
    """Return a library's message as one line, without colours."""
    return " ".join(without_colours(text).split())


def read_utf8(file: Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark.

    Raises:
        EncodingError: the file has another encoding, or is no text.
        OSError: the file cannot be read.

    """
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content.startswith(_UTF_16):
            raise EncodingError("is UTF-16: save it as UTF-8") from error
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise EncodingError(f"is not UTF-8 (byte 0x{byte:02x} in line {line}): save it as UTF-8") from error
    if "\0" in text:
        raise EncodingError("is not a text file, or is UTF-16: save it as UTF-8")
    return text
