"""The Kubernetes API as one viewer's token may see it: reads only, no credentials but the viewer's.

It is a client of its own. The operator's `clients.kube` has one identity from a kubeconfig or a service account; here
each request has the token of its viewer on connections that all viewers share, without cookies, redirects or proxies,
and with limits on what is read into memory. So the page's image needs no Kubernetes library.
"""

import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp

Object = dict[str, Any]
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_PAGE = 250
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
_WATCH_SECONDS = 240
_LONGEST_LINE = 8 * 2**20
_MOST_BYTES = 64 * 2**20
_LONGEST_MESSAGE = 500


class ViewerClientError(Exception):
    """The API server refused, or did not answer (`status` 502); the message is a sentence for the viewer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Read one object, or one page of a list; ViewerClientError where that is refused."""
        raw = await self.read(path, query)
        try:
            return dict(json.loads(raw))
        except ValueError as error:
            raise ViewerClientError(502, "The API server's response is not a JSON object.") from error

    async def read(self, path: str, query: Mapping[str, str] | None = None, *, most: int = _MOST_BYTES) -> bytes:
        """Read an answer of at most so many bytes; ViewerClientError where it is refused or larger."""
        try:
            async with self._session.get(
                self._url(path, query), headers=self._headers, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise await _refusal(answer)
                return await _bounded(answer, most)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(error) from error

    async def list(self, path: str, query: Mapping[str, str] | None = None) -> tuple[list[Object], str]:
        """Read a whole list in pages; returns the items and the version from which a watch resumes."""
        items: list[Object] = []
        token = ""
        while True:
            page = await self.get(path, {**(query or {}), "limit": str(_PAGE), "continue": token})
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items, page["metadata"]["resourceVersion"]

    async def watch(self, path: str, query: Mapping[str, str], since: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED, MODIFIED, DELETED or BOOKMARK, object) after a version, until the API server ends it.

        Raises:
            ExpiredError: the version is too old.
            ViewerClientError: refused, or the connection broke.

        """
        how = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        url = self._url(path, {**query, **how, "resourceVersion": since})
        limit = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 30, connect=5)
        try:
            async with self._session.get(url, headers=self._headers, timeout=limit, allow_redirects=False) as answer:
                if answer.status == 410:
                    raise ExpiredError
                if answer.status != 200:
                    raise await _refusal(answer)
                async for line in _lines(answer):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ExpiredError
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unreachable(error) from error

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        given = {key: value for key, value in (query or {}).items() if value}
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


async def _refusal(answer: aiohttp.ClientResponse) -> ViewerClientError:
    """Say in a sentence what the API server refused, and what would help."""
    if answer.status == 401:
        return ViewerClientError(
            401, "The API server does not accept this token: it is mistyped or has expired. Create a new one."
        )
    raw = await answer.content.read(64 * 1024)
    try:
        message = str(json.loads(raw).get("message", ""))
    except (ValueError, AttributeError):
        message = raw.decode(errors="replace").strip()
    return ViewerClientError(answer.status, message[:_LONGEST_MESSAGE] or f"The API server answered {answer.status}.")


def _unreachable(error: Exception) -> ViewerClientError:
    return ViewerClientError(502, f"The API server does not answer: {type(error).__name__} {error}"[:_LONGEST_MESSAGE])
