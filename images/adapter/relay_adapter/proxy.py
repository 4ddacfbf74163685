"""Forward clients' requests to the engine, as streams: bodies and answers pass as they come."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from relay_adapter import websockets
from relay_adapter.gate import Gate, Kind
from residency.api.client_address import client_network
from residency.api.problem import MEDIA_TYPE, STATUSES, Problem, problem_of
from residency.coordinator import Coordinator
from residency.errors import AbortedError, LoadError, ServiceError
from residency.metrics import Metrics
from residency.retry_after import Step
from residency.state import SERVING

log = logging.getLogger(__name__)
HOP_BY_HOP = frozenset((
    "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip
CONNECT_SECONDS = 5.0


class Proxy:
    """Forwards to the engine at `url`; what needs the GPU passes while the coordinator admits it.

    `silence` is how long the engine may send nothing, in seconds; 0 is without limit.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, gate: Gate, metrics: Metrics, silence: float) -> None:
        self._session = session
        self._url = url
        self._gate = gate
        self._metrics = metrics
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence or None)
        self._forwards: set[_Forward] = set()
        self.coordinator: Coordinator | None = None
        """Set before the first request."""

    def drop_requests(self) -> None:
        """End the requests that have the GPU: the model is being unloaded."""
        for each in self._forwards:
            each.drop()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        began = time.monotonic()
        kind = self._gate.kind(request.method, request.raw_path.partition("?")[0])
        exchange = _Exchange(request)
        status = 499
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._answer(exchange, kind)
                status = exchange.status
            except asyncio.CancelledError:
                self._metrics.abandoned.inc()
                raise
            finally:
                self._metrics.requests.labels(kind.value, str(status)).inc()
                self._metrics.request_seconds.labels(kind.value).observe(time.monotonic() - began)
        assert exchange.response is not None
        return exchange.response

    async def _answer(self, exchange: "_Exchange", kind: Kind) -> None:
        match kind:
            case Kind.INVALID:
                await exchange.refuse(Problem(400, "the path has parts that an engine might read as another path"))
            case Kind.CLOSED:
                asked = f"{exchange.request.method} {exchange.request.path}"
                await exchange.refuse(Problem(403, f"{asked} is not for clients: it would change who has the GPU"))
            case Kind.PASSIVE:
                await self._answered(exchange, self._forward(exchange))
            case Kind.INFERENCE:
                await self._answered(exchange, self._infer(exchange))

    async def _answered(self, exchange: "_Exchange", work: Coroutine[Any, Any, None]) -> None:
        """Await the work; turn an error into a problem, or end the connection where the answer has begun."""
        assert self.coordinator is not None
        try:
            await work
        except ServiceError as error:
            await exchange.refuse(problem_of(error, STATUSES, self.coordinator.retry_after))

    async def _infer(self, exchange: "_Exchange") -> None:
        """Forward a request that needs the GPU, once it is admitted and the model is loaded."""
        coordinator, client = self.coordinator, client_network(exchange.request.remote or "unknown")
        assert coordinator is not None
        await coordinator.idle_unload.wait()
        async with coordinator.admission.admit(client, lambda: coordinator.state):
            with coordinator.in_flight.track():
                if coordinator.state not in SERVING:
                    await coordinator.load_once()
                began = coordinator.now()
                await self._forward_while_loaded(exchange, coordinator)
                coordinator.durations.record(Step.REQUEST, coordinator.now() - began)

    async def _forward_while_loaded(self, exchange: "_Exchange", coordinator: Coordinator) -> None:
        """Forward until an unload drops the request."""
        forward = _Forward()
        self._forwards.add(forward)
        try:
            await self._forward(exchange)
        except asyncio.CancelledError:
            if not forward.is_dropped():
                raise  # the client has disconnected
            message = "the request was aborted: the model had to be unloaded"
            raise AbortedError(message, coordinator.hold) from None
        finally:
            self._forwards.discard(forward)

    async def _forward(self, exchange: "_Exchange") -> None:
        request = exchange.request
        url = URL(f"{self._url}{request.raw_path}", encoded=True)
        headers = _end_to_end(request.headers)
        headers.popall("Host", None)  # the engine's own is set
        headers.update(_forwarded(request))
        if websockets.is_asked_for(request):
            await self._relay(exchange, url, headers)
            return
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = request.content.iter_any() if request.body_exists else None
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False, timeout=self._timeout
            ) as answer:
                await exchange.begin(answer)
                await exchange.pass_on(answer.content.iter_any())
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            raise LoadError(f"the engine does not answer: {error}") from error
        except aiohttp.ClientError as error:
            raise LoadError(f"the engine ended the connection: {error}") from error

    async def _relay(self, exchange: "_Exchange", url: URL, headers: "CIMultiDict[str]") -> None:
        """Connect to the engine's WebSocket, accept the client's, and pass messages on."""
        engine = await websockets.connect(exchange.request, self._session, url, headers)
        async with engine:
            client = websockets.accepted(engine)
            await client.prepare(exchange.request)
            exchange.response = client
            await websockets.relay(engine, client)


class _Forward:
    """A request that has the GPU, in the task that forwards it."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._dropped = False

    def drop(self) -> None:
        """Cancel it, for an unload."""
        if not self._dropped:
            self._dropped = True
            self._task.cancel()

    def is_dropped(self) -> bool:
        """Whether it was cancelled for an unload, and for nothing else; that cancellation is then dealt with."""
        return self._dropped and self._task.uncancel() == 0


class _Exchange:
    """One request and its answer, which begins once."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self.response: web.StreamResponse | None = None

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.response.status if self.response is not None else 500

    async def begin(self, answer: aiohttp.ClientResponse) -> None:
        """Send the head of the engine's answer."""
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers))
        await response.prepare(self.request)
        self.response = response

    async def pass_on(self, parts: AsyncIterator[bytes]) -> None:
        """Send the body, and its end."""
        assert self.response is not None
        async for part in parts:
            await self.response.write(part)
        with contextlib.suppress(ConnectionError):
            await self.response.write_eof()

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem; an answer that has begun is cut off, so that no client takes it for a whole one."""
        if self.response is None:
            body = json.dumps(problem.content)
            self.response = web.Response(
                status=problem.status, headers=dict(problem.headers), text=body, content_type=MEDIA_TYPE
            )
        elif self.request.transport is not None:
            log.info("an answer was cut off: %s", problem.detail)
            self.request.transport.abort()


def _end_to_end(headers: "CIMultiDictProxy[str]") -> "CIMultiDict[str]":
    """Return the headers that are not only for one connection."""
    own = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    kept = [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP | own]
    return CIMultiDict(kept)


def _forwarded(request: web.BaseRequest) -> Mapping[str, str]:
    """Return who asks, for the engine's log; what the client says of itself is replaced."""
    return {
        "X-Forwarded-For": request.remote or "unknown",
        "X-Forwarded-Host": request.host,
        "X-Forwarded-Proto": request.scheme,
    }
