"""What a trainer says, cut to what a status may hold: anybody's image may be the trainer's."""

from typing import Any

_INT32 = 2**31


def numbers(value: Any) -> dict[str, float]:
    """Keep the numeric entries of a mapping, at most 32."""
    items = value.items() if isinstance(value, dict) else ()
    kept = [(str(k)[:64], float(v)) for k, v in items if isinstance(v, int | float) and not isinstance(v, bool)]
    return {key: round(number, 5) for key, number in kept[:32] if number - number == 0}  # inf and nan are no JSON


def paths(value: Any, root: str) -> dict[str, str]:
    """Keep the texts of a mapping, at most 16, as seen from `root`."""
    items = value.items() if isinstance(value, dict) else ()
    return {str(k)[:64]: v[:1024].removeprefix(root + "/") for k, v in list(items)[:16] if isinstance(v, str)}


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
