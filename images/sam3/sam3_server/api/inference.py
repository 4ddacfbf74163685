"""The inference routes: each has a place before its body is read, asks the service, and words the answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from sam3_server.api import openapi, problems
from sam3_server.api.body_receiver import Bodies
from sam3_server.api.disconnects import while_connected
from sam3_server.intake.body_parser import JSON
from sam3_server.intake.protocol import Route
from sam3_server.intake.roboflow import ConceptResponse
from sam3_server.intake.segment_schemas import SegmentResponse
from sam3_server.residency.client_quota import address_of
from sam3_server.residency.coordinator import Segmentation, Service

router = APIRouter()
SEGMENT, CONCEPT = "/api/v1/segment", "/sam3/concept_segment"
DEGRADED = "SAM3-Degraded"
ERRORS = problems.responses(400, 408, 413, 415, 422, 429, 500, 503)
PIECE_BYTES = 1 << 18


async def _served(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_served)]


@router.post(SEGMENT, responses=ERRORS, response_model=SegmentResponse, openapi_extra=openapi.SEGMENT_BODY)
async def segment(request: Request, service: Served) -> Response:
    """Find every instance of each concept. Loads the model if nothing forbids it."""
    async with _answered(request, service, "segment") as done:
        return _answer(done.found.findings, done)


@router.post(CONCEPT, responses=ERRORS, response_model=ConceptResponse, openapi_extra=openapi.CONCEPT_BODY)
async def concept_segment(request: Request, service: Served) -> Response:
    """Answer as Roboflow inference's route of this name does. Its clients need no more than another URL."""
    async with _answered(request, service, "concept") as done:
        return _answer(await service.respond(done, address_of(request.scope)), done)


@asynccontextmanager
async def _answered(request: Request, service: Service, route: Route) -> AsyncIterator[Segmentation]:
    """Have a place, take the body, and ask the service; the place is kept for the length of the `with` block."""
    bodies: Bodies = request.app.state.bodies
    client = address_of(request.scope)
    async with service.admitted(client):
        body = await bodies.take(request, client, service.require_open)
        yield await while_connected(request, service.segment(route, body, client))


class _Pieces(Response):
    """An answer of any size, sent piece by piece, so that a client that reads slowly makes nothing else wait."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PIECE_BYTES):
            piece = self.body[start : start + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _answer(content: bytes, done: Segmentation) -> Response:
    headers = {DEGRADED: "cpu"} if done.degraded else None
    return _Pieces(content, media_type=JSON, headers=headers)
