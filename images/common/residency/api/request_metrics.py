"""The middleware that counts, times and logs requests by route and status."""

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residency.metrics import Metrics

log = logging.getLogger(__name__)

CLIENT_LEFT = 499  # as nginx logs it; nothing is sent
QUIET_ROUTES = frozenset({"/health", "/ready", "/metrics", "/api/v1/gpu"})


class RequestMetrics:
    """Counts, times and logs requests; routes are templates, so that labels stay few."""

    def __init__(self, app: ASGIApp, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._metrics = metrics
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._now(), CLIENT_LEFT

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, observe)
            except BaseException:
                status = 500
                raise
            finally:
                self._record(scope, status, self._now() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.requests.labels(route, str(status)).inc()
        if status == CLIENT_LEFT:
            self._metrics.abandoned.inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if route not in QUIET_ROUTES:
            log.info("answered", extra={"route": route, "status": status, "seconds": round(seconds, 4)})
