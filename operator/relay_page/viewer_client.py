"""The Kubernetes API as one viewer's token may see it: reads only, no credentials but the viewer's.

Each request has the token of its viewer, on connections that all viewers share, without cookies, redirects or proxies,
and with limits on what is read into memory.
"""

import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

from gpu_relay.clients.kube_error import KubeError, Object, TooLargeError
from gpu_relay.clients.kube_reader import KubeReader
from gpu_relay.clients.resources import POD_LOG, POD_PROXY, Resource, pod_proxy_path
from gpu_relay.clients.rest_client import Connection, RestClient

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_PAGE = 250
_MOST_ITEMS = 500
_TIMEOUT_SECONDS = 30.0
_WATCH_SECONDS = 240
_MOST_BYTES = 64 * 2**20
_LONGEST_MESSAGE = 500
_NO_GATEWAY = 502
_GONE = 410


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

        async def authorization() -> str:
            return f"Bearer {token}"

        rest = RestClient(Connection(session, server, authorization), _TIMEOUT_SECONDS, _MOST_BYTES)
        self._kube = KubeReader(rest, page=_PAGE)

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Read one object; ViewerClientError where that is refused."""
        with _sentences(Right("get", resource, namespace)):
            return await self._kube.get(resource.path(namespace, name))

    async def serves(self, resource: Resource) -> bool:
        """True if the API server knows the group and version of a kind, which every account may read."""
        try:
            with _sentences(Right("get", resource, None)):
                await self._kube.get(resource.root)
        except NotFoundError:
            return False
        except ForbiddenError:
            pass
        return True

    async def list_some(self, resource: Resource, namespace: str, fields: str) -> Sequence[Object]:
        """Read the first items of a list, at most 500."""
        with _sentences(Right("list", resource, namespace)):
            return await self._kube.list_some(resource.path(namespace), fields=fields, most_items=_MOST_ITEMS)

    async def list(self, resource: Resource, namespace: str | None, labels: str) -> tuple[Sequence[Object], str]:
        """Read a whole list in pages; returns the items and the version from which a watch resumes."""
        with _sentences(Right("list", resource, namespace)):
            return await self._kube.list_with_version(resource.path(namespace), labels=labels)

    async def watch(
        self, resource: Resource, namespace: str | None, labels: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED, MODIFIED, DELETED or BOOKMARK, object) after a version, until the API server ends it.

        Raises:
            ExpiredError: the version is too old.
            ViewerClientError: refused, or the connection broke.

        """
        changes = self._kube.watch(
            resource.path(namespace), version=since, seconds=_WATCH_SECONDS, labels=labels, bookmarks=True
        )
        with _sentences(Right("watch", resource, namespace)):
            try:
                async for change in changes:
                    yield change
            except TooLargeError as error:
                message = "The API server sent an object that is too large to show."
                raise ViewerClientError(_NO_GATEWAY, message) from error
            except KubeError as error:
                if error.status == _GONE:
                    raise ExpiredError from error
                raise

    async def log(self, namespace: str, pod: str, query: dict[str, str], *, most: int) -> bytes:
        """Read a container's log of at most so many bytes."""
        with _sentences(Right("get", POD_LOG, namespace)):
            return await self._kube.read(POD_LOG.path(namespace, pod), query, most=most)

    async def ask_pod(
        self, namespace: str, pod: str, port: int, path: str, *, most: int, timeout: float = _TIMEOUT_SECONDS
    ) -> bytes:
        """Read what a pod answers at a port, at most so many bytes, through the API server; `timeout` is in seconds.

        Raises:
            ViewerClientError: status 502 where the API server cannot reach the pod, else the status that it answered.

        """
        proxied = pod_proxy_path(namespace, pod, port, path)
        try:
            with _sentences(Right("get", POD_PROXY, namespace)):
                return await self._kube.read(proxied, {}, most=most, timeout=timeout)
        except ViewerClientError as error:
            if error.status < 500:
                raise
            raise ViewerClientError(
                _NO_GATEWAY,
                f"The API server cannot reach pod {pod} at port {port}: the pod may have ended, "
                "or a NetworkPolicy does not allow the API server's address.",
            ) from error


@contextmanager
def _sentences(right: Right) -> Iterator[None]:
    """Raise the ViewerClientError that describes a failed request, which needs this right."""
    try:
        yield
    except KubeError as error:
        if error.status == 0:
            raise ViewerClientError(_NO_GATEWAY, _unreadable(error)[:_LONGEST_MESSAGE]) from error
        raise _refusal(error, right) from error


def _refusal(error: KubeError, right: Right) -> ViewerClientError:
    """Say in a sentence what the API server refused, and what would help."""
    message = error.message[:_LONGEST_MESSAGE]
    if error.status == 401:
        message = "The API server does not accept this token: it is mistyped or has expired. Create a new one."
    if error.right_is_missing:
        return ForbiddenError(right, error.user)
    if error.not_found:
        return NotFoundError(message, kind_is_known=not error.kind_not_found)
    return ViewerClientError(error.status, message)


def _unreadable(error: KubeError) -> str:
    """Say why there is no response that can be shown."""
    cause = error.__cause__
    if isinstance(error, TooLargeError):
        return f"The answer has more than {error.most:,} bytes."
    if isinstance(cause, ValueError):
        return "The API server's response is not a JSON object."
    return f"The API server does not answer: {type(cause).__name__} {cause}"
