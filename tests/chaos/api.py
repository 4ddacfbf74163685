"""An administrator's client of the API server, past the proxies: for kubelet, observer, and the test itself."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.rest_client import Connection, RestClient

_TIMEOUT_SECONDS = 300.0
_WATCH_SECONDS = 600
_BUSY, _TRIES, _PAUSE = 429, 50, 0.2
"""The API server answers so while it prepares the storage of a new kind."""


class Api(Kube):
    """Requests with an administrator's rights, at the server itself."""

    def __init__(self, rest: RestClient, context: ssl.SSLContext) -> None:
        super().__init__(rest, field_manager="chaos")
        self.context = context
        """How an administrator is known to the API server."""

    @classmethod
    @asynccontextmanager
    async def of_run(cls, run_dir: Path) -> AsyncIterator[Self]:
        """Connect to the control plane of a run."""
        config = json.loads((run_dir / "kubeconfig").read_text())
        context = ssl.create_default_context(cafile=str(run_dir / "ca.crt"))
        context.load_cert_chain(run_dir / "admin.crt", run_dir / "admin.key")
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(connector=connector, middlewares=(_wait_while_busy,)) as session:
            connection = Connection(session, config["clusters"][0]["cluster"]["server"])
            yield cls(RestClient(connection, _TIMEOUT_SECONDS), context)

    async def find(self, path: str) -> Object | None:
        """Read an object; None where there is none."""
        try:
            return await self.get(path)
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def remove(self, path: str, **options: Any) -> None:
        """Delete an object or a collection, whatever its UID; one that is gone is as good."""
        try:
            await self._rest.object("DELETE", path, body=options)
        except KubeError as error:
            if error.status not in {404, 409}:
                raise

    async def follow(self, path: str, version: str, *, labels: str = "") -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) of every change after a version, without end."""
        while True:
            async for kind, item in self.watch(path, version=version, seconds=_WATCH_SECONDS, labels=labels):
                version = item["metadata"]["resourceVersion"]
                yield kind, item


async def _wait_while_busy(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    for _ in range(_TRIES):
        response = await handler(request)
        if response.status != _BUSY:
            return response
        response.release()
        await asyncio.sleep(_PAUSE)
    return await handler(request)
