"""The server put together from its routes and middleware."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from residency.api import control as control_routes
from residency.api import problems
from residency.api.auth import Control
from residency.api.body_limit import BodyLimit
from residency.api.head_requests import HeadRequests
from residency.api.request_metrics import RequestMetrics
from residency.coordinator import Coordinator
from residency.errors import EngineStuckError
from sam3_server import errors
from sam3_server.api import inference
from sam3_server.api.access import OPEN, Access
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.api.inference import BODIES_OF_IMAGES
from sam3_server.api.openapi import DocumentedApp
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.segmentation import SegmentationService

log = logging.getLogger(__name__)

STATUSES: dict[type[Exception], int] = {
    errors.ImageTooLargeError: 413,
    errors.ImageError: 422,
    errors.PromptError: 422,
    errors.TooMuchWorkError: 422,
    errors.UnknownImageError: 404,
    errors.InferenceError: 500,
    errors.NoTrackerError: 501,
}


def create_app(
    coordinator: Coordinator,
    segmentation: SegmentationService,
    control: Control,
    metrics: Metrics,
    bodies: BodyReceiver,
    transfer_seconds: float,
    *helpers: AbstractAsyncContextManager[object],
    access: Access = OPEN,
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
            except EngineStuckError:
                log.exception("a worker process could not be ended")

    app = DocumentedApp(title="SAM3 server of GPU Relay", lifespan=lifespan)
    app.state.coordinator, app.state.segmentation, app.state.control = coordinator, segmentation, control
    app.state.metrics, app.state.bodies = metrics, bodies
    metrics.watch(coordinator)
    problems.install(app, STATUSES)
    app.include_router(control_routes.router)
    app.include_router(inference.router)
    app.add_middleware(BodyLimit, seconds=transfer_seconds, others=BODIES_OF_IMAGES)
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(HeadRequests)
    access.install(app)  # the outermost middleware: errors of the others name the origins, too
    return app
