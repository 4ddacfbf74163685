"""Errors about a request's fields, limited in number and length."""

from collections.abc import Iterable, Mapping
from typing import Any

from residency.errors import BodyError, FieldError

MAX_FIELD_ERRORS = 10
MAX_PATH, MAX_MESSAGE, MAX_DETAIL = 100, 300, 1500


def validation_error(found: Iterable[Mapping[str, Any]], *where: str) -> BodyError:
    """Return the error for what Pydantic found invalid (`loc` and `msg` of each) below `where`: the first few."""
    field_errors: list[FieldError] = []
    for each in found:
        if len(field_errors) == MAX_FIELD_ERRORS:
            break
        place = ".".join(map(str, (*where, *each["loc"])))
        field_errors.append(FieldError(truncate(place, MAX_PATH), truncate(str(each["msg"]), MAX_MESSAGE)))
    detail = "; ".join(f"{each.where}: {each.message}" for each in field_errors)
    return BodyError(422, truncate(detail, MAX_DETAIL), field_errors)


def field_error(field: str, message: str) -> BodyError:
    """Return the error for one field of a body."""
    return validation_error([{"loc": ("body", field), "msg": message}])


def truncate(text: str, most: int) -> str:
    """Return the text, shortened to `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
