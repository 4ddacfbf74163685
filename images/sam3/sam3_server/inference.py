"""The inference routes: each reads its request, asks the service, and words the answer."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError

from sam3_server import openapi, problems, roboflow, uploads
from sam3_server.errors import ImageTooLargeError
from sam3_server.roboflow import ConceptRequest, ConceptResponse
from sam3_server.segment_schemas import SegmentOptions, SegmentResponse
from sam3_server.service import Segmentation, Service
from sam3_server.uploads import JSON
from sam3_server.worker.protocol import Query

router = APIRouter()
DEGRADED = "SAM3-Degraded"
ERRORS = problems.responses(400, 413, 415, 422, 500, 503)


@dataclass(frozen=True)
class RequestLimits:
    """What a request may hold, or ask for, at most."""

    image_mib: int
    prompts: int
    instances: int

    def require_size(self, image: bytes) -> None:
        """Pass an encoded image that is not too large.

        Raises:
            ImageTooLargeError: it has more bytes than are allowed.

        """
        if len(image) > self.image_mib << 20:
            raise ImageTooLargeError(f"the image has more than {self.image_mib} MiB; send a smaller one")

    def query(self, options: SegmentOptions) -> Query:
        """Return what the worker is to be asked.

        Raises:
            RequestValidationError: it is more than is allowed.

        """
        if len(options.prompts) > self.prompts:
            raise _too_much("prompts", f"{len(options.prompts)} prompts were sent, {self.prompts} are allowed")
        if options.max_instances is not None and options.max_instances > self.instances:
            raise _too_much("max_instances", f"{self.instances} instances are allowed for each prompt")
        return options.query(self.instances)


def _too_much(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])


async def _served(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _limited(request: Request) -> RequestLimits:
    limits: RequestLimits = request.app.state.limits
    return limits


Served = Annotated[Service, Depends(_served)]
Limited = Annotated[RequestLimits, Depends(_limited)]


@router.post("/api/v1/segment", responses=ERRORS, response_model=SegmentResponse, openapi_extra=openapi.SEGMENT_BODY)
async def segment(request: Request, service: Served, limits: Limited) -> Response:
    """Find every instance of each concept. Loads the model if nothing forbids it."""
    image, options = await uploads.read(request)
    limits.require_size(image)
    done = await service.segment(image, limits.query(options))
    return _answer(done.found.findings, done)


@router.post(
    "/sam3/concept_segment", responses=ERRORS, response_model=ConceptResponse, openapi_extra=openapi.CONCEPT_BODY
)
async def concept_segment(request: Request, service: Served, limits: Limited) -> Response:
    """Answer as Roboflow inference's route of this name does. Its clients need no more than another URL."""
    body = await uploads.read_json(request, ConceptRequest)
    image = await uploads.decoded(body.image.value)
    limits.require_size(image)
    done = await service.segment(image, limits.query(body.options()))
    return _answer(await asyncio.to_thread(roboflow.respond, body, done.found.findings), done)


def _answer(content: bytes, done: Segmentation) -> Response:
    headers = {DEGRADED: "cpu"} if done.degraded else None
    return Response(content, media_type=JSON, headers=headers)
