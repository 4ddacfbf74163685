"""The OpenAPI document and its page: FastAPI cannot derive the bodies that a route reads itself."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sam3_server.intake.anylabeling import PredictRequest
from sam3_server.intake.roboflow import ConceptRequest
from sam3_server.intake.roboflow_visual import EmbedRequest, VisualRequest
from sam3_server.intake.segment_schemas import SegmentForm, SegmentRequest

_PLACE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (
    SegmentRequest,
    SegmentForm,
    ConceptRequest,
    VisualRequest,
    EmbedRequest,
    PredictRequest,
)


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
VISUAL_BODY = _body(**{"application/json": _reference(VisualRequest)})
EMBED_BODY = _body(**{"application/json": _reference(EmbedRequest)})
PREDICT_BODY = _body(**{"application/json": _reference(PredictRequest)})


ASSETS = "/docs-assets"


class DocumentedApp(FastAPI):
    """A FastAPI application whose document has the schemas that those bodies refer to.

    Its page `/docs` loads nothing from other servers: script and style are in a package.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, **options)
        self.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
        self.add_api_route("/docs", self._swagger, include_in_schema=False)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        made = self.openapi_schema is not None
        document = super().openapi()  # made once and kept
        if not made:
            _, schemas = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_PLACE)
            document["components"]["schemas"] |= schemas["$defs"]
        return document

    async def _swagger(self, request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}{self.openapi_url}",
            title=self.title,
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
