"""How the timeline writes figures."""

_GAUGE_CELLS = 30


def mib(value: int) -> str:
    """Write MiB as `14,000`."""
    return f"{value:,}"


def clock(seconds: float) -> str:
    """Write seconds since the start as `02:05`; minutes continue past an hour."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def count(number: int, noun: str) -> str:
    """Write `1 poll`, `2 polls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def gauge(used: int, reserved: int, total: int) -> str:
    """Draw a GPU's memory (all in MiB) as a bar of 30 cells: used, the driver's own, free.

    Raises ValueError when the parts do not fit the whole.
    """
    if total <= 0 or min(used, reserved) < 0 or used + reserved > total:
        raise ValueError(f"{used} used and {reserved} reserved do not fit into {total} MiB")
    filled = round(_GAUGE_CELLS * used / total)
    blocked = round(_GAUGE_CELLS * (used + reserved) / total) - filled
    return "█" * filled + "▒" * blocked + "░" * (_GAUGE_CELLS - filled - blocked)
