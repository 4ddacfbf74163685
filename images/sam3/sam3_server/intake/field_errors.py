"""What is wrong with a request's fields, in an answer whose size does not depend on how much is wrong."""

from collections.abc import Iterable, Mapping
from typing import Any

from sam3_server.errors import BodyError, Complaint

MOST_COMPLAINTS = 10
LONGEST_PLACE, LONGEST_MESSAGE, LONGEST_DETAIL = 100, 300, 1500


def invalid(found: Iterable[Mapping[str, Any]], *where: str) -> BodyError:
    """Return the error for what Pydantic found wrong (`loc` and `msg` of each) below `where`: the first few."""
    complaints: list[Complaint] = []
    for each in found:
        if len(complaints) == MOST_COMPLAINTS:
            break
        place = ".".join(map(str, (*where, *each["loc"])))
        complaints.append(Complaint(cut(place, LONGEST_PLACE), cut(str(each["msg"]), LONGEST_MESSAGE)))
    detail = "; ".join(f"{each.where}: {each.message}" for each in complaints)
    return BodyError(422, cut(detail, LONGEST_DETAIL), complaints)


def complaint(field: str, message: str) -> BodyError:
    """Return the error for one field of a body."""
    return invalid([{"loc": ("body", field), "msg": message}])


def cut(text: str, most: int) -> str:
    """Return the text, shortened to `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
