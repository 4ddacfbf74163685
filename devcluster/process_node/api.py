"""The Kubernetes API on plain dicts, with what a kubelet needs of it: requests with a time limit, and watches."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_TIMEOUT_SECONDS = 10.0
#: A watch that says nothing for this long is begun anew; the server is asked to end it before.
_WATCH_SECONDS = 240
_LONGEST_EVENT = 16 << 20


class ApiError(Exception):
    """The API server refused, or could not be reached (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A client for one API server."""

    def __init__(self, session: aiohttp.ClientSession, server: str, authority: bytes) -> None:
        self._session = session
        self.server = server
        self.authority = authority

    @classmethod
    @asynccontextmanager
    async def connect(cls, kubeconfig: Path) -> AsyncIterator[Self]:
        """Connect with a kubeconfig that names its certificate authority."""
        settings = client.Configuration()
        await config.load_kube_config(str(kubeconfig), client_configuration=settings, persist_config=False)
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        token = await settings.get_api_key_with_prefix("BearerToken")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            headers={"Authorization": token} if token else None,
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
            read_bufsize=_LONGEST_EVENT,
        ) as session:
            yield cls(session, settings.host, await asyncio.to_thread(Path(settings.ssl_ca_cert).read_bytes))

    async def get(self, path: str, **query: str) -> Object:
        """Read an object or a list."""
        return await self._request("GET", path, query=query)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object, or ask for something (a token)."""
        return await self._request("POST", path, body)

    async def patch(self, path: str, body: Object, content_type: str = STRATEGIC_MERGE) -> Object:
        """Change an object."""
        return await self._request("PATCH", path, body, content_type=content_type)

    async def delete(self, path: str, body: Object) -> None:
        """Delete an object."""
        await self._request("DELETE", path, body)

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) until the server ends the watch; raises ApiError, status 410 for a version too old."""
        given = {**query, "watch": "1", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS, sock_read=_WATCH_SECONDS + 10)
        try:
            async with self._session.get(self.server + path, params=given, timeout=timeout) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.read(), f"watch {path}")
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, f"watch {path}: {type(error).__name__}: {error}") from error

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        try:
            async with self._session.request(
                method, self.server + path, params=query, data=data, headers=headers
            ) as answer:
                payload = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        if answer.status >= 400:
            raise _refusal(answer.status, payload, f"{method} {path}")
        return dict(json.loads(payload))


def _refusal(status: int, payload: bytes, what: str) -> ApiError:
    try:
        message = str(json.loads(payload)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{what}: HTTP {status}"
    return ApiError(status, message)
