"""The server put together from its routes and middleware."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from sam3_server.api import control as control_routes
from sam3_server.api import inference, problems
from sam3_server.api.auth import Control
from sam3_server.api.body_limit import BodyLimit
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.api.head_requests import HeadRequests
from sam3_server.api.inference import CONCEPT, SEGMENT
from sam3_server.api.openapi import DocumentedApp
from sam3_server.api.request_metrics import RequestMetrics
from sam3_server.errors import WorkerStuckError
from sam3_server.residency.coordinator import Coordinator
from sam3_server.residency.metrics import Metrics
from sam3_server.residency.segmentation import SegmentationService

log = logging.getLogger(__name__)


def create_app(
    coordinator: Coordinator,
    segmentation: SegmentationService,
    control: Control,
    metrics: Metrics,
    bodies: BodyReceiver,
    transfer_seconds: float,
    *helpers: AbstractAsyncContextManager[object],
) -> FastAPI:
    """Build the server. Its coordinator and its helpers start and end with the app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for helper in helpers:
                await stack.enter_async_context(helper)
            coordinator.start()
            yield
            try:
                await coordinator.close()
            except WorkerStuckError:
                log.exception("a worker process could not be ended")

    app = DocumentedApp(title="SAM3 server of GPU Relay", lifespan=lifespan)
    app.state.coordinator, app.state.segmentation, app.state.control = coordinator, segmentation, control
    app.state.metrics, app.state.bodies = metrics, bodies
    metrics.watch(coordinator)
    problems.install(app)
    app.include_router(control_routes.router)
    app.include_router(inference.router)
    app.add_middleware(BodyLimit, seconds=transfer_seconds, others=frozenset({SEGMENT, CONCEPT}))
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(HeadRequests)
    return app
