"""The routes of control and observation, and the server put together; inference.py has the others."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from gpu_memory import GpuUnavailable
from sam3_server.api import inference, problems
from sam3_server.api.auth import Control
from sam3_server.api.body_limit import BodyLimit
from sam3_server.api.body_receiver import Bodies
from sam3_server.api.head_requests import HeadRequests
from sam3_server.api.inference import CONCEPT, SEGMENT, Served
from sam3_server.api.openapi import DocumentedApp
from sam3_server.api.schemas import (
    Gpu,
    Health,
    HoldView,
    LoadRequest,
    LoadResponse,
    Readiness,
    RenewRequest,
    RenewResponse,
    UnloadRequest,
    UnloadResponse,
)
from sam3_server.errors import WorkerStuckError
from sam3_server.residency.client_quota import address_of
from sam3_server.residency.coordinator import Service, Unloaded
from sam3_server.residency.metrics import Metrics, RequestMetrics
from sam3_server.residency.state import State

log = logging.getLogger(__name__)

router = APIRouter()


async def _controlled(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
) -> None:
    control: Control = request.app.state.control
    await control.check(credentials.credentials if credentials else None, address_of(request.scope))


CONTROL = [Depends(_controlled)]


@router.get("/health")
async def health(service: Served) -> Health:
    """Tell that the process serves, and what it is doing. Never waits for anything."""
    hold = HoldView.of(service.hold, service.now())
    return Health(model_loaded=service.loaded, state=service.state, hold=hold, error=service.error)


@router.get("/ready", responses=problems.responses(503), response_model=Readiness)
async def ready(service: Served) -> Response:
    """Tell whether to send requests here: unless failed, or, where SAM3_READY_WHEN says so, only with the model."""
    told = Readiness(serves=service.state is not State.FAILED, model_loaded=service.loaded)
    if service.unready is not None:
        return problems.problem(503, service.unready, **told.model_dump(exclude={"status"}))
    return JSONResponse(told.model_dump())


@router.get("/api/v1/gpu", responses=problems.responses(503))
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
        refused=service.gate.refused,
        model_loaded=service.loaded,
        state=service.state,
        hold=HoldView.of(service.hold, service.now()),
    )


@router.post("/api/v1/unload", dependencies=CONTROL, responses=problems.responses(401, 403, 409, 422, 503))
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


@router.post("/api/v1/hold/renew", responses=problems.responses(403, 409, 422))
async def renew(service: Served, body: RenewRequest) -> RenewResponse:
    """Let the hold live for another ttl. The renew key is the permission; no token is needed."""
    hold = HoldView.of(service.renew(body.fence, body.renew_key), service.now())
    assert hold is not None
    return RenewResponse(hold=hold)


@router.post("/api/v1/load", dependencies=CONTROL, responses=problems.responses(401, 403, 409, 422, 503))
async def load(service: Served, body: LoadRequest | None = None) -> LoadResponse:
    """End the hold and load; answered when a probe inference has passed."""
    already = service.loaded
    seconds = await service.load(body.claim() if body else None)
    return LoadResponse(
        message="the model was loaded already" if already else f"the model was loaded in {seconds:.2f} s",
        seconds=round(seconds, 3),
        gpu_free_mb=await _free_mib(service),
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    collected: Metrics = request.app.state.metrics
    return Response(collected.exposition(), media_type=CONTENT_TYPE_LATEST)


def create_app(
    service: Service,
    control: Control,
    collected: Metrics,
    bodies: Bodies,
    transfer_seconds: float,
    *helpers: AbstractAsyncContextManager[object],
) -> FastAPI:
    """Build the server around a service, which lives as long as the app does; so do its helpers."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for helper in helpers:
                await stack.enter_async_context(helper)
            service.start()
            yield
            try:
                await service.close()
            except WorkerStuckError:
                log.exception("a worker is left behind")

    app = DocumentedApp(title="SAM3 server of GPU Relay", lifespan=lifespan)
    app.state.service, app.state.control, app.state.metrics, app.state.bodies = service, control, collected, bodies
    collected.watch(service)
    problems.install(app)
    app.include_router(router)
    app.include_router(inference.router)
    app.add_middleware(BodyLimit, seconds=transfer_seconds, others=frozenset({SEGMENT, CONCEPT}))
    app.add_middleware(RequestMetrics, metrics=collected)
    app.add_middleware(HeadRequests)
    return app


def _told(done: Unloaded) -> str:
    if done.free_mib is None:
        return "the model is unloaded; no GPU memory could be measured"
    return f"the model is unloaded: {done.freed_mib} MiB came back, {done.free_mib} MiB are free"


async def _free_mib(service: Service) -> int:
    try:
        return (await service.measure()).free_mib
    except GpuUnavailable:
        return 0
