"""The routes of control and observation: health, readiness, GPU memory, unload, renew, load, metrics."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from gpu_memory import GpuUnavailable
from residency.api import problems
from residency.api.auth import Control
from residency.api.client_address import client_of
from residency.api.schemas import (
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
from residency.coordinator import Coordinator
from residency.metrics import Metrics
from residency.state import State
from residency.unloader import UnloadResult

router = APIRouter()


async def _coordinator(request: Request) -> Coordinator:
    coordinator: Coordinator = request.app.state.coordinator
    return coordinator


Coordinated = Annotated[Coordinator, Depends(_coordinator)]


async def _require_control(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
) -> None:
    control: Control = request.app.state.control
    await control.check(credentials.credentials if credentials else None, client_of(request.scope))


CONTROL = [Depends(_require_control)]


@router.get("/health")
async def health(coordinator: Coordinated) -> Health:
    """Report that the process serves, and the model's state. Never waits for the engine or the GPU."""
    hold = HoldView.of(coordinator.hold, coordinator.now())
    return Health(model_loaded=coordinator.loaded, state=coordinator.state, hold=hold, error=coordinator.error)


@router.get("/ready", responses=problems.responses(503), response_model=Readiness)
async def ready(coordinator: Coordinated) -> Response:
    """Report whether to send requests here: not when failed and, if so configured, only while the model is loaded."""
    readiness = Readiness(serves=coordinator.state is not State.FAILED, model_loaded=coordinator.loaded)
    if coordinator.unready is not None:
        return problems.problem(503, coordinator.unready, **readiness.model_dump(exclude={"status"}))
    return JSONResponse(readiness.model_dump())


@router.get("/api/v1/gpu", responses=problems.responses(503))
async def gpu(coordinator: Coordinated) -> Gpu:
    """Measure the GPU now."""
    memory = await coordinator.measure()
    return Gpu(
        **vars(memory),
        worker_allocated_mib=coordinator.allocated_mib,
        worker_cap_mib=coordinator.policy.need_mib,
        need_mib=coordinator.policy.need_mib,
        residual_mib=coordinator.residual_mib,
        in_flight=coordinator.in_flight.count,
        idle_seconds=round(coordinator.in_flight.idle_seconds, 3),
        refused=coordinator.holds.refused,
        newest_fence=coordinator.holds.newest_fence,
        model_loaded=coordinator.loaded,
        state=coordinator.state,
        hold=HoldView.of(coordinator.hold, coordinator.now()),
    )


@router.post("/api/v1/unload", dependencies=CONTROL, responses=problems.responses(401, 403, 409, 422, 503))
async def unload(coordinator: Coordinated, body: UnloadRequest | None = None) -> UnloadResponse:
    """Refuse further requests, drain, end the engine; answered when it has ended. A body keeps the model unloaded."""
    terms, drain_timeout = (body.terms(), body.drain_timeout_seconds) if body else (None, 20.0)
    result = await coordinator.unload(terms, drain_timeout)
    return UnloadResponse(
        message=_unload_message(result),
        gpu_freed_mb=result.freed_mib,
        gpu_free_mb=result.free_mib or 0,
        drained=result.drained,
        aborted=result.aborted,
        hold=HoldView.of(coordinator.hold, coordinator.now()),
    )


@router.post("/api/v1/hold/renew", responses=problems.responses(403, 409, 422))
async def renew(coordinator: Coordinated, body: RenewRequest) -> RenewResponse:
    """Extend the hold by its ttl. The renew key is the permission; no token is needed."""
    hold = HoldView.of(coordinator.renew(body.fence, body.renew_key), coordinator.now())
    assert hold is not None
    return RenewResponse(hold=hold)


@router.post("/api/v1/load", dependencies=CONTROL, responses=problems.responses(401, 403, 409, 422, 503))
async def load(coordinator: Coordinated, body: LoadRequest | None = None) -> LoadResponse:
    """End the hold and load; answered when a probe inference has passed."""
    already = coordinator.loaded
    seconds = await coordinator.load(body.claim() if body else None)
    return LoadResponse(
        message="the model was loaded already" if already else f"the model was loaded in {seconds:.2f} s",
        seconds=round(seconds, 3),
        gpu_free_mb=await _free_mib(coordinator),
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    collected: Metrics = request.app.state.metrics
    return Response(collected.exposition(), media_type=CONTENT_TYPE_LATEST)


def _unload_message(result: UnloadResult) -> str:
    if result.free_mib is None:
        return "the model is unloaded; no GPU memory could be measured"
    return f"the model is unloaded: {result.freed_mib} MiB came back, {result.free_mib} MiB are free"


async def _free_mib(coordinator: Coordinator) -> int:
    try:
        return (await coordinator.measure()).free_mib
    except GpuUnavailable:
        return 0
