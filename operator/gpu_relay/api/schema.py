"""The base of the API's types, and the schema extensions that the CRD generator keeps."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

RULES = "x-kubernetes-validations"
MAP_KEYS = "x-kubernetes-list-map-keys"
LIST_TYPE = "x-kubernetes-list-type"
LABEL_NAMES: JsonDict = {
    "rule": "self.all(name, size(name) <= 317)",
    "message": "the name of a label has at most 317 characters: a prefix of 253, '/', and 63",
}


class ApiType(BaseModel):
    """A type of the API: camelCase in YAML, snake_case in Python. The API server handles unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


_YEARS = range(1970, 3000)
"""Years that are accepted; later times would overflow when seconds are added to them."""


def _checked_time(text: str) -> str:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None or moment.year not in _YEARS:
        raise ValueError("write a time with a time zone, and a year from 1970 to 2999")
    return text


Time = Annotated[str, AfterValidator(_checked_time), Field(json_schema_extra={"format": "date-time"})]
"""An RFC 3339 time, kept as text."""


def object_name(kind: str, *, required: bool = True, description: str = "") -> Any:
    """Return a field that names an object of a kind in the job's own namespace."""
    rule: JsonDict = {
        "rule": "!format.dns1123Subdomain().validate(self).hasValue()",
        "message": f"this is the name of a {kind} in the job's own namespace: lower-case letters, digits, '-' and '.'",
    }
    default: Any = ... if required else None
    text = description or f"Name of the {kind}."
    return Field(default=default, max_length=253, json_schema_extra={RULES: [rule]}, description=text)
