"""JSON that residents and trainers say, read so that nothing in it can surprise who goes on with it.

Anybody's image may be the trainer's. What comes out is shallow, its numbers are finite and of a size that every reader
has room for, its texts can be written as UTF-8.
"""

import json
import math
from typing import Any

_DEEPEST = 8
_LARGEST = 2**63


def read_object(raw: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None for anything else, and for what nests too deep to be read at all."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return _plain(value, _DEEPEST) if isinstance(value, dict) else None


def _plain(value: Any, depth: int) -> Any:
    """Copy a value; what nests deeper than `depth`, and numbers that are none, become null."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0:
        return None
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    return {_text(key): _plain(item, depth - 1) for key, item in value.items()}


def _text(value: str) -> str:
    """Replace lone surrogates, which JSON can spell and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode("utf-8")
