"""String enums whose members have a description."""

from enum import StrEnum
from typing import Self


class Described(StrEnum):
    """A string enum whose members have a description. A value of another version is read unchanged."""

    description: str

    def __new__(cls, value: str, description: str = "") -> Self:
        """Create a member."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return a value that this version does not know: it equals its text, and is no member."""
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        unknown.description = f"{value} was written by another version of GPU Relay."
        return unknown
