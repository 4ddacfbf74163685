"""The inference routes: each is admitted before its body is read, and has its image segmented."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from residency.api import problems
from residency.api.client_address import client_of
from sam3_server.api import openapi, several_images
from sam3_server.api.access import DEGRADED, INFERENCE
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.api.disconnects import cancel_on_disconnect
from sam3_server.api.several_images import SeveralResponse
from sam3_server.intake import anylabeling
from sam3_server.intake.anylabeling import PredictResponse
from sam3_server.intake.body import Body
from sam3_server.intake.body_parser import JSON
from sam3_server.intake.protocol import Route
from sam3_server.intake.roboflow import ConceptResponse
from sam3_server.intake.roboflow_visual import EmbedResponse, VisualResponse
from sam3_server.intake.segment_schemas import SegmentResponse
from sam3_server.serving.segmentation import Segmentation, SegmentationService

router = APIRouter()
SEGMENT, PREDICT = "/api/v1/segment", "/v1/predict"
CONCEPT, VISUAL, EMBED = "/sam3/concept_segment", "/sam3/visual_segment", "/sam3/embed_image"
BODIES_OF_IMAGES = frozenset({SEGMENT, CONCEPT, VISUAL, EMBED, PREDICT})
ERRORS = problems.responses(400, 401, 408, 413, 415, 422, 429, 500, 503)
OBJECT_ERRORS = ERRORS | problems.responses(404, 501)
CHUNK_BYTES = 1 << 18


async def _segmentation(request: Request) -> SegmentationService:
    segmentation: SegmentationService = request.app.state.segmentation
    return segmentation


Segmenting = Annotated[SegmentationService, Depends(_segmentation)]


@router.post(
    SEGMENT,
    responses=OBJECT_ERRORS,
    response_model=SegmentResponse | SeveralResponse,
    openapi_extra=openapi.SEGMENT_BODY,
    dependencies=INFERENCE,
)
async def segment(request: Request, service: Segmenting) -> Response:
    """Find every instance of each concept, and the mask of each single object. Load the model if nothing forbids it.

    A request with `images` gets an entry for each of them. An error about one image does not end the others.
    """
    async with _received(request, service) as body:
        done = await cancel_on_disconnect(request, service.segment_all("segment", body, client_of(request.scope)))
        if isinstance(done, Segmentation):
            return _answer(done.found.findings, done)
        degraded = any(isinstance(each, Segmentation) and each.degraded for each in done)
        return _ChunkedResponse(several_images.pieces(request.app, done), degraded)


@router.post(
    CONCEPT,
    responses=ERRORS,
    response_model=ConceptResponse,
    openapi_extra=openapi.CONCEPT_BODY,
    dependencies=INFERENCE,
)
async def concept_segment(request: Request, service: Segmenting) -> Response:
    """Answer as Roboflow inference's route of this name does. Its clients only change their URL."""
    async with _segmented(request, service, "concept") as done:
        return _answer(await service.respond(done, client_of(request.scope)), done)


@router.post(
    VISUAL,
    responses=OBJECT_ERRORS,
    response_model=VisualResponse,
    openapi_extra=openapi.VISUAL_BODY,
    dependencies=INFERENCE,
)
async def visual_segment(request: Request, service: Segmenting) -> Response:
    """Segment single objects by points and boxes, as Roboflow inference's route of this name does."""
    async with _segmented(request, service, "visual") as done:
        return _answer(await service.respond(done, client_of(request.scope)), done)


@router.post(
    EMBED,
    responses=OBJECT_ERRORS,
    response_model=EmbedResponse,
    openapi_extra=openapi.EMBED_BODY,
    dependencies=INFERENCE,
)
async def embed_image(request: Request, service: Segmenting) -> Response:
    """Compute an image's features for clicks on it, as Roboflow inference's route of this name does."""
    async with _segmented(request, service, "embed") as done:
        return _answer(await service.respond(done, client_of(request.scope)), done)


@router.post(
    PREDICT,
    responses=ERRORS,
    response_model=PredictResponse,
    openapi_extra=openapi.PREDICT_BODY,
    dependencies=INFERENCE,
)
async def predict(request: Request, service: Segmenting) -> Response:
    """Answer as X-AnyLabeling's remote server does, but with HTTP's statuses for errors."""
    async with _segmented(request, service, "anylabeling") as done:
        return _answer(await service.respond(done, client_of(request.scope)), done)


@router.get("/v1/models", responses=problems.responses(401), dependencies=INFERENCE)
async def models() -> dict[str, Any]:
    """List the model, as X-AnyLabeling's remote server does."""
    return {"success": True, "data": {anylabeling.MODEL: anylabeling.DESCRIPTION}}


@asynccontextmanager
async def _segmented(request: Request, service: SegmentationService, route: Route) -> AsyncIterator[Segmentation]:
    """Admit the request, receive its body and segment its image; it counts as in flight for the `with` block."""
    async with _received(request, service) as body:
        yield await cancel_on_disconnect(request, service.segment(route, body, client_of(request.scope)))


@asynccontextmanager
async def _received(request: Request, service: SegmentationService) -> AsyncIterator[Body]:
    bodies: BodyReceiver = request.app.state.bodies
    client = client_of(request.scope)
    async with service.admit(client):
        yield await bodies.receive(request, client, service.require_open)


class _ChunkedResponse(Response):
    """An answer of any size in JSON, sent in pieces, so that a client that reads slowly delays no other."""

    def __init__(self, pieces: Sequence[bytes], degraded: bool) -> None:
        headers = {DEGRADED: "cpu"} if degraded else {}
        super().__init__(None, media_type=JSON, headers=headers | {"content-length": str(sum(map(len, pieces)))})
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            for start in range(0, len(piece), CHUNK_BYTES):
                chunk = piece[start : start + CHUNK_BYTES]
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _answer(content: bytes, done: Segmentation) -> Response:
    return _ChunkedResponse([content], done.degraded)
