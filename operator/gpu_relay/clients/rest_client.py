"""HTTP requests to a Kubernetes API server, for every client of it: URLs, time limits, bounded bodies and errors."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp

from gpu_relay.clients import clock
from gpu_relay.clients.kube_error import Object, api_error, unreachable
from gpu_relay.clients.kube_response import object_of, read_body, read_start

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_CONNECT_SECONDS = 5.0
_MOST_ERROR_BYTES = 64 * 1024


async def _no_authorization() -> str:
    return ""


@dataclass(frozen=True)
class Connection:
    """Where the API server is, and how a request is authenticated; clients share its session."""

    session: aiohttp.ClientSession
    server: str
    """URL of the API server, without a slash at its end."""
    authorization: Callable[[], Awaitable[str]] = _no_authorization
    """Returns the header `Authorization` of the next request, empty for none; a token may have changed since."""
    server_hostname: str | None = None
    """The name in the API server's certificate, if it is not that of the URL."""


@dataclass(frozen=True)
class RestClient:
    """Requests on one connection. Every failure is a KubeError; redirects, which no API server sends, are errors."""

    connection: Connection
    timeout: float
    """Seconds that a request may take, with its body."""
    most_bytes: int | None = None
    """Bytes of a body that are read; None for any number."""
    permit: Callable[[], None] = lambda: None
    """Called before each write; raises if this process must not write."""
    count: Callable[[str, str], None] = lambda _method, _status: None
    """Called after each request, with its method and the status of the response, `unreachable` without one."""

    async def object(
        self,
        method: Method,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Object | Sequence[Object] | None = None,
        *,
        content_type: str = "application/json",
        most: int | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Send a request and return the JSON object of the response; `TooLargeError` above `most` bytes."""
        async with self.open(method, path, query, body, content_type=content_type, timeout=timeout) as response:
            return object_of(await read_body(response, most or self.most_bytes))

    async def read(self, path: str, query: Mapping[str, Any], *, most: int, timeout: float | None = None) -> bytes:
        """Return the body of a response that need not be JSON; `TooLargeError` above `most` bytes."""
        async with self.open("GET", path, query, timeout=timeout) as response:
            return await read_body(response, most)

    @asynccontextmanager
    async def open(
        self,
        method: Method,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Object | Sequence[Object] | None = None,
        *,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield the response, whose body is read inside the block.

        A failure to read it there, a ValueError included, becomes a KubeError too.
        """
        request = f"{method} {path}"
        total = self.timeout if timeout is None else timeout
        data = None if body is None else json.dumps(body)
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if body is not None else {})
        if authorization := await self.connection.authorization():
            headers["Authorization"] = authorization
        if method != "GET":
            self.permit()
        asked = time.time()
        try:
            async with self.connection.session.request(
                method,
                self._url(path, query or {}),
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=total, connect=min(_CONNECT_SECONDS, total)),
                allow_redirects=False,
                server_hostname=self.connection.server_hostname,
            ) as response:
                clock.CLUSTER.heard(response.headers.get("Date", ""), asked, time.time())
                if not 200 <= response.status < 300:
                    raw = await read_start(response, _MOST_ERROR_BYTES)
                    self.count(method, str(response.status))
                    raise api_error(response.status, raw, request)
                yield response
                self.count(method, str(response.status))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.count(method, "unreachable")
            raise unreachable(request, error) from error

    def _url(self, path: str, query: Mapping[str, Any]) -> str:
        given = {key: value for key, value in query.items() if value != ""}
        return self.connection.server + path + (f"?{urlencode(given)}" if given else "")
