"""A plain client of the API server, for those who go past the proxy: kubelet, observer, and the test itself."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

Object = dict[str, Any]
_MERGE = "application/merge-patch+json"
_BUSY, _PAUSE = 429, 0.2
"""The API server answers so while it prepares the storage of a new kind."""


class ApiError(Exception):
    """The API server refused. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Requests with an administrator's rights, at the server itself."""

    def __init__(self, session: aiohttp.ClientSession, server: str, context: ssl.SSLContext) -> None:
        self._session = session
        self.server = server
        self.context = context

    @classmethod
    @asynccontextmanager
    async def connect(cls, run_dir: Path) -> AsyncIterator[Self]:
        """Connect to the control plane of a run."""
        config = json.loads((run_dir / "kubeconfig").read_text())
        context = ssl.create_default_context(cafile=str(run_dir / "ca.crt"))
        context.load_cert_chain(run_dir / "admin.crt", run_dir / "admin.key")
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            yield cls(session, config["clusters"][0]["cluster"]["server"], context)

    async def get(self, path: str, **query: str) -> Object:
        """Read an object or a list. ApiError when that fails."""
        return await self._request("GET", path, query=query)

    async def find(self, path: str) -> Object | None:
        """Read an object; None where there is none."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Object) -> Object:
        """Create an object."""
        return await self._request("POST", path, body)

    async def patch(self, path: str, body: Object) -> Object:
        """Merge into an object."""
        return await self._request("PATCH", path, body, content_type=_MERGE)

    async def delete(self, path: str, **options: Any) -> None:
        """Delete an object or a collection; one that is gone is as good."""
        try:
            await self._request("DELETE", path, options)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) of every change after a version, without end."""
        while True:
            given = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "600", **query}
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
            async with self._session.get(self.server + path, params=given, timeout=timeout) as answer:
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 0), event["object"].get("message", ""))
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        tries: int = 50,
    ) -> Object:
        raw = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self.server + path, data=raw, params=query, headers={"Content-Type": content_type}
        ) as answer:
            payload = json.loads(await answer.read() or b"{}")
            if answer.status == _BUSY and tries > 0:
                await asyncio.sleep(_PAUSE)
                return await self._request(method, path, body, query=query, content_type=content_type, tries=tries - 1)
            if answer.status >= 400:
                raise ApiError(answer.status, str(payload.get("message", payload)))
            return dict(payload)
