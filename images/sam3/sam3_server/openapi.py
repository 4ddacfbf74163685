"""The parts of the OpenAPI document that FastAPI cannot derive: bodies that a route reads by itself."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sam3_server.roboflow import ConceptRequest
from sam3_server.segment_schemas import SegmentForm, SegmentRequest

_PLACE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (SegmentRequest, SegmentForm, ConceptRequest)


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _PLACE.format(model=model.__name__)}}


def _body(**content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


SEGMENT_BODY = _body(
    **{
        "application/json": _reference(SegmentRequest),
        "multipart/form-data": _reference(SegmentForm) | {"encoding": {"request": {"contentType": "application/json"}}},
    }
)
CONCEPT_BODY = _body(**{"application/json": _reference(ConceptRequest)})


class DocumentedApp(FastAPI):
    """A FastAPI application whose document has the schemas that those bodies refer to."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()  # made once and kept
        _, schemas = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_PLACE)
        document["components"]["schemas"] |= schemas["$defs"]
        return document
