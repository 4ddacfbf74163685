"""Readers of untrusted values: reports of trainers, and what tenants write on pods, within bounds. None raises."""

import json
import math
from typing import Any

from gpu_relay.domain.quantities import parse_time

_INT32 = 2**31
_DEEPEST = 8
_LARGEST = 2**63
_LONGEST_TEXT = 1024
_LONGEST_TIME = 40
_YEARS = range(1970, 9000)
"""Far enough from the last representable year for any setting to be added."""


def numbers(value: Any) -> dict[str, float]:
    """Keep the numeric entries of a mapping, at most 32."""
    items = value.items() if isinstance(value, dict) else ()
    kept = [(str(k)[:64], float(v)) for k, v in items if isinstance(v, int | float) and not isinstance(v, bool)]
    return {key: round(number, 5) for key, number in kept[:32] if number - number == 0}  # inf and nan are no JSON


def paths(value: Any, root: str) -> dict[str, str]:
    """Keep the texts of a mapping, at most 16, as seen from `root`."""
    items = value.items() if isinstance(value, dict) else ()
    return {str(k)[:64]: v[:1024].removeprefix(root + "/") for k, v in list(items)[:16] if isinstance(v, str)}


def texts(value: Any) -> dict[str, str]:
    """Keep the texts of a mapping, at most 16."""
    items = value.items() if isinstance(value, dict) else ()
    return {text(str(k), 64): text(v) for k, v in list(items)[:16] if isinstance(v, str)}


def counts(value: Any) -> dict[str, int]:
    """Keep the whole numbers of a mapping, at most 16."""
    items = value.items() if isinstance(value, dict) else ()
    return {str(k)[:64]: v for k, v in list(items)[:16] if whole(v) is not None}


def whole(value: Any, below: int = _INT32) -> int | None:
    """Return a number that is whole, not negative and below a limit; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below else None


def seconds(value: Any) -> float | None:
    """Return a number of seconds up to three years; None for anything else."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**8
    return round(float(value), 1) if number else None


def text(value: Any, most: int = _LONGEST_TEXT) -> str:
    """Return a text, cut to `most` characters and writable as UTF-8; empty for anything else."""
    return value[:most].encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """Return the mappings of a list; none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def digits(value: Any, below: int = _INT32) -> int | None:
    """Return the whole number below a limit that a label or annotation has in ASCII digits; None for anything else.

    The length is checked first: `int` raises ValueError above 4,300 digits.
    """
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) > len(str(below)):
        return None
    return whole(int(value), below)


def moment(value: Any) -> str | None:
    """Return an RFC 3339 time with a zone, as it stands; None for anything else, and for years out of range."""
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        read = parse_time(value)
    except ValueError:
        return None
    return value if read.tzinfo is not None and read.year in _YEARS else None


def read_object(raw: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None for anything else, and for what nests too deep to be read."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return _plain(value, _DEEPEST) if isinstance(value, dict) else None


def _plain(value: Any, depth: int) -> Any:
    """Copy a value; what nests deeper than `depth`, and numbers that are not finite, become null."""
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
