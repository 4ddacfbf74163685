"""Views as plain data, for `-o json` and `-o yaml`: camelCase, times in UTC, lengths of time in seconds."""

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
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
        shown = (each for each in fields(value) if not _is_omitted(each, getattr(value, each.name)))
        return {_camel(each.name): plain(getattr(value, each.name)) for each in shown}
    return value


def _is_omitted(of: Field[Any], value: Any) -> bool:
    """True for a default that is not worth showing: the kind of an owner that is a YoloTrainingJob."""
    return bool(of.metadata.get("omit_default")) and bool(value == of.default)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
