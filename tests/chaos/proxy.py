"""An HTTP proxy between an operator and all its servers, which does to each call what a decider says.

    operator ──► front door ──► fate of the call? ──► API server or resident ──► fate of the answer? ──► operator

A decider sees every call: crashes "right after the k-th write" and faults by seed are two of them.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from tests.chaos import scope

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True)
class Call:
    """One call of an operator, as the proxy has received it."""

    operator: str
    target: str
    """`api` or `resident`."""
    method: str
    path: str
    query: dict[str, str]
    number: int
    """Of this operator's calls of this kind, from 1."""
    body: bytes = field(default=b"", repr=False)

    @property
    def is_watch(self) -> bool:
        """True for a watch: its answer is a stream."""
        return self.query.get("watch") in {"1", "true"}

    @property
    def is_order(self) -> bool:
        """True for a write to the API server, or an order to a resident; candidates write the leader's Lease."""
        of_leader = self.path.endswith("/leases/gpu-relay-leader")
        creates_it = self.path.endswith("/leases") and b'"gpu-relay-leader"' in self.body
        return self.method != "GET" and not of_leader and not creates_it

    @property
    def kind(self) -> str:
        """What is counted: method and last fixed words of the path, without names."""
        return f"{self.target} {'WATCH' if self.is_watch else self.method} {_words(self.path)}"


@dataclass(frozen=True)
class Canned:
    """An answer of the proxy's own."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fate:
    """What happens to a call. Times in seconds. The default is that nothing does."""

    delay: float = 0.0
    """Before it is forwarded. It is forwarded even if the caller has given up by then, as a network may do."""
    lose_request: bool = False
    """The connection ends, and the other side never hears of it."""
    instead: Canned | None = None
    """The answer, without forwarding."""
    hang: bool = False
    """Neither forwarded nor answered: a half-open connection."""
    stale: bool = False
    """An older answer to the same question, if there was any."""
    answer_delay: float = 0.0
    lose_answer: bool = False
    """Forwarded, but the connection ends without an answer."""
    hang_answer: bool = False
    """Forwarded, and never answered."""
    after_forwarding: Callable[[], Awaitable[None]] | None = None
    """Awaited when the other side has answered and the caller has not heard of it."""
    after_answering: Callable[[], Awaitable[None]] | None = None
    watch_events: int | None = None
    """Of a watch: after so many lines it is cut, or falls silent."""
    watch_silent: bool = False


UNTOUCHED = Fate()
Decider = Callable[[Call], Fate]


class Proxy:
    """The front doors of one operator: one for the API server, one for each resident."""

    def __init__(
        self,
        operator: str,
        session: aiohttp.ClientSession,
        context: ssl.SSLContext,
        namespaces: frozenset[str] | None = None,
    ) -> None:
        """`session` carries calls on; `context` is for the API server. `namespaces`: all that the caller may see."""
        self._operator = operator
        self._session = session
        self._context = context
        self._namespaces = namespaces
        self._counts: dict[str, int] = {}
        self._answers: dict[str, list[tuple[int, bytes, dict[str, str]]]] = {}
        self._serving: set[asyncio.Task[Any]] = set()
        self._lost: set[asyncio.Task[Any]] = set()
        """Calls on their way, whose caller may have gone."""
        self.decide: Decider = lambda _: UNTOUCHED
        self.event: Callable[[Call], Fate | None] = lambda _: None
        """An event's word on a call, which goes before `decide`; None where it has none."""
        self.admit: Callable[[Call, bytes], bytes] = lambda _, body: body
        """Changes the bodies of calls, as mutating webhooks do."""
        self.on_call: Callable[[Call], None] = lambda _: None
        """Hears of every call as it is received."""
        self.on_answer: Callable[[Call], None] = lambda _: None
        """Hears of every call that is answered by the other side, when the answer is sent."""

    @contextlib.asynccontextmanager
    async def door(self, target: str, upstream: str, host: str, port: int) -> AsyncIterator[str]:
        """Open a door to `upstream` (a base URL); yields its own base URL."""

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
            return await self._serve(request, target, upstream)

        runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            address = runner.addresses[0]
            yield f"http://{address[0]}:{address[1]}"
        finally:
            ends = [*self._serving, *self._lost]
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await runner.cleanup()

    async def _serve(self, request: web.BaseRequest, target: str, upstream: str) -> web.StreamResponse:
        body = await request.read()
        call = self._received(request, target, body)
        fate = self.event(call) or self.decide(call)
        if fate.hang:
            await self._until_the_caller_goes(request)
        if fate.lose_request:
            return _cut(request)
        if fate.instead is not None:
            return web.json_response(fate.instead.body, status=fate.instead.status, headers=fate.instead.headers)
        if fate.stale:
            old = self._answers.get(str(request.rel_url))
            if old:
                return _answer(*old[0])
        if call.is_watch:
            return await self._stream(request, upstream, fate)
        forwarding = asyncio.create_task(self._forward(request, call, upstream, self.admit(call, body), fate))
        self._lost.add(forwarding)  # it continues even if the caller gives up
        forwarding.add_done_callback(self._lost.discard)
        return await asyncio.shield(forwarding)

    def _received(self, request: web.BaseRequest, target: str, body: bytes) -> Call:
        query = dict(request.rel_url.query)
        call = Call(self._operator, target, request.method, request.path, query, 0, body)
        number = self._counts[call.kind] = self._counts.get(call.kind, 0) + 1
        call = replace(call, number=number)
        self.on_call(call)
        return call

    async def _forward(
        self, request: web.BaseRequest, call: Call, upstream: str, body: bytes, fate: Fate
    ) -> web.StreamResponse:
        await asyncio.sleep(fate.delay)
        try:
            async with self._ask(request, upstream, body, timeout=120) as answer:
                raw = await answer.read()
                if self._hides(request):
                    raw = scope.visible_list(raw, self._namespaces or frozenset())
                answered = (answer.status, raw, _headers(answer))
        except (aiohttp.ClientError, TimeoutError):
            return _cut(request)
        if request.method == "GET":
            self._remember(str(request.rel_url), answered)
        if fate.after_forwarding is not None:
            await fate.after_forwarding()
        if fate.lose_answer:
            return _cut(request)
        if fate.hang_answer:
            await self._until_the_caller_goes(request)
        await asyncio.sleep(fate.answer_delay)
        response = _answer(*answered)
        self.on_answer(call)
        if fate.after_answering is not None:
            with contextlib.suppress(ConnectionError):
                await response.prepare(request)
                await response.write_eof()
            await fate.after_answering()
        return response

    async def _stream(self, request: web.BaseRequest, upstream: str, fate: Fate) -> web.StreamResponse:
        response = web.StreamResponse()
        seen = 0
        try:
            async with self._ask(request, upstream, b"", timeout=None) as answer:
                response.set_status(answer.status)
                response.headers.update(_headers(answer))
                response.enable_chunked_encoding()
                await response.prepare(request)
                async for line in answer.content:
                    if self._hides(request) and not scope.shows(line, self._namespaces or frozenset()):
                        continue
                    if fate.watch_events is not None and seen >= fate.watch_events:
                        if not fate.watch_silent:
                            return _cut(request)
                        await self._until_the_caller_goes(request)
                    seen += 1
                    await response.write(line)
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            return _cut(request)
        return response

    def _ask(
        self, request: web.BaseRequest, upstream: str, body: bytes, *, timeout: float | None
    ) -> "aiohttp.client._RequestContextManager":
        dropped = _HOP_BY_HOP | ({"accept-encoding"} if self._hides(request) else set())
        headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
        return self._session.request(
            request.method,
            upstream + str(request.rel_url),
            data=body or None,
            headers=headers,
            ssl=self._context if upstream.startswith("https") else True,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=5),
        )

    def _hides(self, request: web.BaseRequest) -> bool:
        return self._namespaces is not None and scope.spans_namespaces(request.method, request.path)

    def _remember(self, url: str, answered: tuple[int, bytes, dict[str, str]]) -> None:
        """Keep the last few answers to a question, oldest first."""
        answers = self._answers.setdefault(url, [])
        answers.append(answered)
        del answers[:-3]

    async def _until_the_caller_goes(self, request: web.BaseRequest) -> None:
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.1)
        raise asyncio.CancelledError


def _answer(status: int, raw: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=raw, headers=headers)


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """End the connection at once, in the midst of things."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _words(path: str) -> str:
    """Keep what names a resource: `/api/v1/namespaces/x/pods/y/status` becomes `pods/*/status`."""
    parts = path.strip("/").split("/")
    if "namespaces" in parts and len(parts) > parts.index("namespaces") + 2:
        parts = parts[parts.index("namespaces") + 2 :]
        return "/".join("*" if place == 1 else part for place, part in enumerate(parts))
    return parts[-1]
