"""What the types of the API share: their base, and the schema extensions that the CRD generator passes on."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

RULES = "x-kubernetes-validations"
MAP_KEYS = "x-kubernetes-list-map-keys"
LIST_TYPE = "x-kubernetes-list-type"


class ApiType(BaseModel):
    """camelCase in YAML, snake_case in Python; unknown fields are the API server's business."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


def object_name(kind: str, *, required: bool = True, description: str = "") -> Any:
    """Return a field that names an object of a kind in the job's own namespace."""
    rule: JsonDict = {
        "rule": "!format.dns1123Subdomain().validate(self).hasValue()",
        "message": f"this is the name of a {kind} in the job's own namespace: lower-case letters, digits, '-' and '.'",
    }
    default: Any = ... if required else None
    text = description or f"Name of the {kind}."
    return Field(default=default, max_length=253, json_schema_extra={RULES: [rule]}, description=text)
