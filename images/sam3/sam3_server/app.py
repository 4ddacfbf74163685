"""The routes, and nothing but the routes: each reads its request, asks the service, and words the answer."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from gpu_memory import GpuUnavailable
from sam3_server import problems
from sam3_server.auth import Control
from sam3_server.body_limit import BodyLimit
from sam3_server.errors import WorkerStuckError
from sam3_server.metrics import Metrics, RequestMetrics
from sam3_server.residency import State
from sam3_server.schemas import (
    Gpu,
    Health,
    HoldView,
    LoadRequest,
    LoadResponse,
    Problem,
    RenewRequest,
    RenewResponse,
    SegmentResponse,
    UnloadRequest,
    UnloadResponse,
)
from sam3_server.service import Service, Unloaded
from sam3_server.worker.protocol import Prompt

log = logging.getLogger(__name__)

MIB = 1 << 20
LONGEST_PROMPT = 512


@dataclass(frozen=True)
class RequestLimits:
    """What a request may hold at most."""

    image_mib: int
    prompts: int


router = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _controlled(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
) -> None:
    control: Control = request.app.state.control
    await control.check(credentials.credentials if credentials else None)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "content": {problems.MEDIA_TYPE: {}}} for status in statuses}


Served = Annotated[Service, Depends(_service)]
CONTROL = [Depends(_controlled)]


@router.get("/health")
async def health(service: Served) -> Health:
    """Tell that the process serves, and what it is doing. Never waits for anything."""
    hold = HoldView.of(service.hold, service.now())
    return Health(model_loaded=service.loaded, state=service.state, hold=hold, error=service.error)


@router.get("/ready", responses=_errors(503))
async def ready(service: Served) -> Response:
    """Tell whether to send requests here: always, unless failed, for a held resident answers for itself."""
    if service.state is State.FAILED:
        return problems.problem(503, service.error or "failed")
    return JSONResponse({"status": "ok"})


@router.get("/api/v1/gpu", responses=_errors(503))
async def gpu(service: Served) -> Gpu:
    """Measure the GPU now."""
    memory = await service.measure()
    return Gpu(
        **vars(memory),
        worker_allocated_mib=service.worker_allocated_mib,
        worker_cap_mib=service.policy.need_mib,
        need_mib=service.policy.need_mib,
        in_flight=service.flight.count,
        idle_seconds=round(service.flight.idle_seconds, 3),
        refused=service.refused,
        model_loaded=service.loaded,
        state=service.state,
        hold=HoldView.of(service.hold, service.now()),
    )


@router.post("/api/v1/unload", dependencies=CONTROL, responses=_errors(401, 403, 409, 422, 503))
async def unload(service: Served, body: UnloadRequest | None = None) -> UnloadResponse:
    """Close the gate, drain, end the worker; answered when it is gone. A body makes the server stay unloaded."""
    terms, drain_timeout = (body.terms(), body.drain_timeout_seconds) if body else (None, 20.0)
    done = await service.unload(terms, drain_timeout)
    return UnloadResponse(
        message=_told(done),
        gpu_freed_mb=done.freed_mib,
        gpu_free_mb=done.free_mib or 0,
        drained=done.drained,
        aborted=done.aborted,
        hold=HoldView.of(service.hold, service.now()),
    )


@router.post("/api/v1/hold/renew", responses=_errors(403, 409, 422))
async def renew(service: Served, body: RenewRequest) -> RenewResponse:
    """Let the hold live for another ttl. The renew key is the permission; no token is needed."""
    hold = HoldView.of(service.renew(body.fence, body.renew_key), service.now())
    assert hold is not None
    return RenewResponse(hold=hold)


@router.post("/api/v1/load", dependencies=CONTROL, responses=_errors(401, 403, 409, 422, 503))
async def load(service: Served, body: LoadRequest | None = None) -> LoadResponse:
    """End the hold and load; answered when a probe inference has passed."""
    already = service.loaded
    seconds = await service.load(body.claim() if body else None)
    return LoadResponse(
        message="the model was loaded already" if already else f"the model was loaded in {seconds:.2f} s",
        seconds=round(seconds, 3),
        gpu_free_mb=await _free_mib(service),
    )


@router.post("/api/v1/segment", responses=_errors(413, 422, 500, 503))
async def segment(
    request: Request,
    service: Served,
    image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, BMP, TIFF or GIF")],
    prompt: Annotated[list[str], Form(description="a concept to look for; repeat it for more")],
    threshold: Annotated[float, Form(ge=0, le=1, description="least score of an instance")] = 0.5,
) -> SegmentResponse:
    """Find every instance of each concept. Loads the model if nothing forbids it."""
    prompts = _prompts(prompt, request.app.state.limits.prompts)
    done = await service.segment(await image.read(), prompts, threshold)
    return SegmentResponse(
        width=done.width, height=done.height, model_seconds=round(done.found.seconds, 4), results=done.found.results
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    collected: Metrics = request.app.state.metrics
    return Response(collected.exposition(), media_type=CONTENT_TYPE_LATEST)


def create_app(service: Service, control: Control, collected: Metrics, limits: RequestLimits) -> FastAPI:
    """Build the server around a service, which lives as long as the app does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        try:
            await service.close()
        except WorkerStuckError:
            log.exception("a worker is left behind")

    app = FastAPI(title="SAM3 server of GPU Relay", lifespan=lifespan)
    app.state.service, app.state.control, app.state.metrics, app.state.limits = service, control, collected, limits
    collected.watch(service)
    problems.install(app)
    app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=(limits.image_mib + 1) * MIB)
    app.add_middleware(RequestMetrics, metrics=collected)
    return app


def _prompts(texts: list[str], most: int) -> list[Prompt]:
    stripped = [text.strip() for text in texts]
    message = None
    if len(stripped) > most:
        message = f"{len(stripped)} prompts were sent, {most} are allowed in one request"
    elif not all(stripped):
        message = "a prompt is empty"
    elif any(len(text) > LONGEST_PROMPT for text in stripped):
        message = f"a prompt has more than {LONGEST_PROMPT} characters"
    if message is not None:
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("body", "prompt"), "msg": message, "input": None}]
        )
    return [Prompt(text=text) for text in stripped]


def _told(done: Unloaded) -> str:
    if done.free_mib is None:
        return "the model is unloaded; no GPU memory could be measured"
    return f"the model is unloaded: {done.freed_mib} MiB came back, {done.free_mib} MiB are free"


async def _free_mib(service: Service) -> int:
    try:
        return (await service.measure()).free_mib
    except GpuUnavailable:
        return 0
