"""The Kubernetes API as one viewer's token may see it: reads only, no credentials but the viewer's.

It is a client of its own. The operator's `clients.kube` has one identity from a kubeconfig or a service account; here
each request has the token of its viewer on connections that all viewers share, without cookies, redirects or proxies,
and with limits on what is read into memory. So the page's image needs no Kubernetes library.
"""

import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from gpu_relay.clients.resources import POD_LOG, POD_PROXY, Resource, pod_proxy_path

Object = dict[str, Any]
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_USER = re.compile(r'User "([^"]{1,253})"')
"""The account in the API server's message about a missing right."""
_PAGE = 250
_MOST_ITEMS = 500
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
_WATCH_SECONDS = 240
_LONGEST_LINE = 8 * 2**20
_MOST_BYTES = 64 * 2**20
_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Right:
    """What a request needs: a verb on a kind of object, in a namespace (None: in all namespaces)."""

    verb: str
    resource: Resource
    namespace: str | None

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace is not None else "in all namespaces"
        return f"{self.verb} {self.resource.full_plural} {where}"


class ViewerClientError(Exception):
    """The API server refused, or did not answer (`status` 502); the message is a sentence for the viewer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ForbiddenError(ViewerClientError):
    """The viewer's account lacks a right, which the message names."""

    def __init__(self, right: Right, user: str = "") -> None:
        """`user` is the account's name, empty where the API server does not say it."""
        super().__init__(403, f"Your account{f' ({user})' if user else ''} may not {right}.")
        self.right = right


class NotFoundError(ViewerClientError):
    """The object, or its kind, does not exist."""

    def __init__(self, message: str, *, kind_is_known: bool) -> None:
        super().__init__(404, message)
        self.kind_is_known = kind_is_known


class ExpiredError(Exception):
    """A watch cannot resume where it stopped: list again."""


def open_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """Return a session for calls to the API server; it keeps no cookies, so no two viewers share anything."""
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector, trust_env=False)


class ViewerClient:
    """Reads with one token."""

    def __init__(self, session: aiohttp.ClientSession, server: str, token: str) -> None:
        """Take a viewer's token.

        Raises:
            ViewerClientError: there is none, or it cannot be one.

        """
        if not _TOKEN.fullmatch(token):
            raise ViewerClientError(401, "Enter a token: `kubectl create token` prints one.")
        self._session = session
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Read one object; ViewerClientError where that is refused."""
        return await self._object(resource.path(namespace, name), {}, Right("get", resource, namespace))

    async def list_some(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> list[Object]:
        """Read the first items of a list, at most 500."""
        path, right = resource.path(namespace), Right("list", resource, namespace)
        return list((await self._object(path, {**query, "limit": str(_MOST_ITEMS)}, right))["items"])

    async def list(
        self, resource: Resource, namespace: str | None, query: Mapping[str, str]
    ) -> tuple[list[Object], str]:
        """Read a whole list in pages; returns the items and the version from which a watch resumes."""
        path, right = resource.path(namespace), Right("list", resource, namespace)
        items: list[Object] = []
        token = ""
        while True:
            page = await self._object(path, {**query, "limit": str(_PAGE), "continue": token}, right)
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items, page["metadata"]["resourceVersion"]

    async def watch(
        self, resource: Resource, namespace: str | None, query: Mapping[str, str], since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED, MODIFIED, DELETED or BOOKMARK, object) after a version, until the API server ends it.

        Raises:
            ExpiredError: the version is too old.
            ViewerClientError: refused, or the connection broke.

        """
        how = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        url = self._url(resource.path(namespace), {**query, **how, "resourceVersion": since})
        limit = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 30, connect=5)
        try:
            async with self._session.get(url, headers=self._headers, timeout=limit, allow_redirects=False) as answer:
                if answer.status == 410:
                    raise ExpiredError
                if answer.status != 200:
                    raise await _refusal(answer, Right("watch", resource, namespace))
                async for line in _lines(answer):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ExpiredError
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unreachable(error) from error

    async def log(self, namespace: str, pod: str, query: Mapping[str, str], *, most: int) -> bytes:
        """Read a container's log of at most so many bytes."""
        return await self._read(POD_LOG.path(namespace, pod), query, Right("get", POD_LOG, namespace), most=most)

    async def ask_pod(
        self, namespace: str, pod: str, port: int, path: str, *, most: int, timeout: aiohttp.ClientTimeout = _TIMEOUT
    ) -> bytes:
        """Read what a pod answers at a port, at most so many bytes, through the API server.

        Raises:
            ViewerClientError: status 502 where the API server cannot reach the pod, else the status that it answered.

        """
        proxied = pod_proxy_path(namespace, pod, port, path)
        right = Right("get", POD_PROXY, namespace)
        try:
            return await self._read(proxied, {}, right, most=most, timeout=timeout)
        except ViewerClientError as error:
            if error.status < 500:
                raise
            raise ViewerClientError(
                502,
                f"The API server cannot reach pod {pod} at port {port}: the pod may have ended, "
                "or a NetworkPolicy does not allow the API server's address.",
            ) from error

    async def _object(self, path: str, query: Mapping[str, str], right: Right) -> Object:
        raw = await self._read(path, query, right, most=_MOST_BYTES)
        try:
            return dict(json.loads(raw))
        except ValueError as error:
            raise ViewerClientError(502, "The API server's response is not a JSON object.") from error

    async def _read(
        self,
        path: str,
        query: Mapping[str, str],
        right: Right,
        *,
        most: int,
        timeout: aiohttp.ClientTimeout = _TIMEOUT,
    ) -> bytes:
        """Read an answer of at most so many bytes; ViewerClientError where it is refused or larger."""
        try:
            async with self._session.get(
                self._url(path, query), headers=self._headers, timeout=timeout, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise await _refusal(answer, right)
                return await _bounded(answer, most)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(error) from error

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        given = {key: value for key, value in query.items() if value}
        return self._server + path + (f"?{urlencode(given)}" if given else "")


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > _LONGEST_LINE:
            raise ViewerClientError(502, "The API server sent an object that is too large to show.")


async def _bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            raise ViewerClientError(502, f"The answer has more than {most:,} bytes.")
    return bytes(body)


async def _refusal(answer: aiohttp.ClientResponse, right: Right) -> ViewerClientError:
    """Say in a sentence what the API server refused, and what would help."""
    if answer.status == 401:
        return ViewerClientError(
            401, "The API server does not accept this token: it is mistyped or has expired. Create a new one."
        )
    raw = await answer.content.read(64 * 1024)
    status = _status_of(raw)
    text = raw.decode(errors="replace").strip() if status is None else str(status.get("message") or "")
    message = text[:_LONGEST_MESSAGE] or f"The API server answered {answer.status}."
    if answer.status == 403 and status is not None and "cannot" in message:
        user = _USER.search(message)
        return ForbiddenError(right, user[1] if user else "")
    if answer.status == 404:
        return NotFoundError(message, kind_is_known=bool(((status or {}).get("details") or {}).get("name")))
    return ViewerClientError(answer.status, message)


def _status_of(raw: bytes) -> Object | None:
    """Read the API server's own answer to a request that it refuses; None for an answer of a pod behind it."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else None


def _unreachable(error: Exception) -> ViewerClientError:
    return ViewerClientError(502, f"The API server does not answer: {type(error).__name__} {error}"[:_LONGEST_MESSAGE])
