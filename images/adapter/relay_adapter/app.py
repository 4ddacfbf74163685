"""The routes of control, and the adapter put together with its engine and its proxy."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from fastapi import FastAPI

from relay_adapter.bounded_server import BoundedServer
from relay_adapter.proxy import Proxy
from relay_adapter.settings import Settings
from residency.api import control, problems
from residency.api.auth import Control
from residency.api.body_limit import BodyLimit
from residency.api.head_requests import HeadRequests
from residency.coordinator import Coordinator
from residency.errors import EngineStuckError
from residency.metrics import Metrics

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 75.0


def create_app(coordinator: Coordinator, authority: Control, metrics: Metrics, transfer_seconds: float) -> FastAPI:
    """Build the app of the routes of control. Its coordinator starts and ends with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        coordinator.start()
        yield
        try:
            await coordinator.close()
        except EngineStuckError:
            log.exception("the engine could not be unloaded")

    app = FastAPI(title="Relay adapter of GPU Relay", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.coordinator, app.state.control, app.state.metrics = coordinator, authority, metrics
    metrics.watch(coordinator)
    problems.install(app, {})
    app.include_router(control.router)
    app.add_middleware(BodyLimit, seconds=transfer_seconds, others=frozenset[str]())
    app.add_middleware(HeadRequests)
    return app


@asynccontextmanager
async def served(proxy: Proxy, settings: Settings) -> AsyncIterator[int]:
    """Serve the proxy for a `with` block, which gets the port; a request ends when its client disconnects."""
    server = BoundedServer(
        proxy.handle,
        settings.max_connections,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        access_log=None,
        handler_cancellation=True,
    )
    runner = web.ServerRunner(server, shutdown_timeout=settings.shutdown_timeout)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.bind_address, settings.proxy_port)
        await site.start()
        address = runner.addresses[0]
        yield int(address[1])
    finally:
        await runner.cleanup()
