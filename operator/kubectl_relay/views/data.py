"""Views as plain data, for `-o json` and `-o yaml`: camelCase, times in UTC, lengths of time in seconds."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from gpu_relay.domain.quantities import timestamp


def plain(value: Any) -> Any:
    """Return what JSON can hold."""
    match value:
        case datetime():
            return timestamp(value)
        case timedelta():
            return int(value.total_seconds())
        case Enum():
            return value.value
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    if is_dataclass(value):
        return {_camel(each.name): plain(getattr(value, each.name)) for each in fields(value)}
    return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
