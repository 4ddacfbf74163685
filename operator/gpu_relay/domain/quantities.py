"""Memory quantities and times, as Kubernetes writes them."""

import re
from datetime import UTC, datetime, timedelta

from gpu_relay.api.words import DURATION

_MEMORY = re.compile(r"([1-9][0-9]*)(Mi|Gi)")
_MIB = {"Mi": 1, "Gi": 1024}
_UNITS = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}


def memory_mib(quantity: str) -> int:
    """Return the MiB of a quantity such as `10Gi` or `10240Mi`; ValueError for anything else."""
    match = _MEMORY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"gpu.memory is {quantity!r}; write it in Mi or Gi, for example 10Gi")
    return int(match[1]) * _MIB[match[2]]


def duration(text: str) -> timedelta:
    """Read a duration such as `30m` or `1h30m`; ValueError for anything else."""
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"{text!r} is not a duration; write it in h, m, s or ms, for example 90s or 1h30m")
    parts = re.findall(r"([0-9]+)(ms|h|m|s)", text)
    return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 with whole seconds, as the Kubernetes API writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time; ValueError for anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def mib(value: int) -> str:
    """Return a size for messages: `14,000 MiB`."""
    return f"{value:,} MiB"
