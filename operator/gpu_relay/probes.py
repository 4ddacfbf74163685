"""The HTTP server of /healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gpu_relay.controllers.manager import Manager
from gpu_relay.leaderelection.elector import LeaderElector

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(manager: Manager, leadership: LeaderElector, host: str, port: int) -> AsyncIterator[int]:
    """Serve within the context; yields the port that was bound."""
    app = web.Application()
    app.router.add_get("/healthz", _healthz(manager))
    app.router.add_get("/readyz", _readyz(manager, leadership))
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _healthz(manager: Manager) -> _Handler:
    async def handler(_: web.Request) -> web.Response:
        problem = manager.unhealthy()
        return web.Response(text=problem or "ok", status=500 if problem else 200)

    return handler


def _readyz(manager: Manager, leadership: LeaderElector) -> _Handler:
    """Return the handler: leader and standby are ready once their caches are, so a rollout can wait for that."""

    async def handler(_: web.Request) -> web.Response:
        if not manager.ready():
            return web.Response(text="the first full list has not been read yet", status=503)
        return web.Response(text="ok: leads" if leadership.leads else "ok: stands by")

    return handler


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
