"""A thin client of the Kubernetes API on plain dicts: the typed models reject objects that the server accepts."""

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config

from gpu_relay.effects import clock
from gpu_relay.effects.metrics import API_REQUESTS

Object = dict[str, Any]
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE = 500


class KubeError(Exception):
    """The API server answered with an error, or not at all (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason

    @property
    def not_found(self) -> bool:
        """The object does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody else has changed the object since it was read."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        """An object of that name exists."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def refusal(self) -> bool:
        """The request itself is at fault: repeating it would not help."""
        return 400 <= self.status < 500 and self.status not in {404, 408, 409, 429}


class Kube:
    """Requests with a time limit; every failure is a KubeError."""

    def __init__(
        self, api: client.ApiClient, *, field_manager: str, timeout: float, permit: Callable[[], None] = lambda: None
    ) -> None:
        """`permit` is called before each write, and raises when this process must not write."""
        self._api = api
        self._field_manager = field_manager
        self._timeout_seconds = timeout
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(5.0, timeout))
        self._permit = permit

    @classmethod
    @asynccontextmanager
    async def connect(cls, *, field_manager: str, timeout: float) -> AsyncIterator[Self]:
        """Connect from inside a pod, or else with `$KUBECONFIG` or the default kubeconfig."""
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config()
        else:
            await config.load_kube_config()
        configuration = client.Configuration.get_default_copy()
        # Proxies count, ~/.netrc does not: aiohttp would read it in a thread of its own for every request.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        async with client.ApiClient(configuration) as api:
            yield cls(api, field_manager=field_manager, timeout=timeout)

    def writing_if(self, permit: Callable[[], None]) -> Self:
        """Return a client on the same connections that asks before each write; `permit` raises to forbid it."""
        return type(self)(self._api, field_manager=self._field_manager, timeout=self._timeout_seconds, permit=permit)

    async def get(self, path: str) -> Object:
        """Read one object."""
        return await self._request("GET", path)

    async def list(self, path: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read a whole list, live (a quorum read)."""
        return [item async for item in self.each(path, labels=labels, fields=fields)]

    async def each(self, path: str, *, labels: str = "", fields: str = "") -> AsyncIterator[Object]:
        """Read a list, live, in pages, of which no more than one is held at a time."""
        token = ""
        while True:
            selectors = {"labelSelector": labels, "fieldSelector": fields}
            page = await self._request("GET", path, {**selectors, "limit": _PAGE, "continue": token})
            token = page["metadata"].get("continue", "")
            for item in page.pop("items"):
                yield item
            if not token:
                return

    async def create(self, path: str, body: Object) -> Object:
        """Create an object."""
        return await self._request("POST", path, {"fieldManager": self._field_manager}, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object; with a `resourceVersion` in it this is a compare-and-swap."""
        return await self._request("PUT", path, {"fieldManager": self._field_manager}, body)

    async def apply(self, path: str, body: Object) -> Object:
        """Apply on the server side, taking over the fields that are ours."""
        query = {"fieldManager": self._field_manager, "force": "true"}
        return await self._request("PATCH", path, query, body, content_type=_APPLY)

    async def merge(self, path: str, body: Object) -> Object:
        """Change these fields, None removes one; with a `resourceVersion` in it this is a compare-and-swap."""
        return await self._request("PATCH", path, {"fieldManager": self._field_manager}, body, content_type=_MERGE)

    async def delete(
        self, path: str, *, uid: str, resource_version: str | None = None, foreground: bool = False
    ) -> None:
        """Delete the object with this UID (and version); one that is gone or replaced is none of our business.

        `foreground` keeps the object until those that it owns are gone.
        """
        body: Object = {"preconditions": {"uid": uid}}
        if resource_version is not None:
            body["preconditions"]["resourceVersion"] = resource_version
        if foreground:
            body["propagationPolicy"] = "Foreground"
        try:
            await self._request("DELETE", path, None, body)
        except KubeError as error:
            if not (error.not_found or error.conflict):
                raise

    async def _request(
        self,
        method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
    ) -> Object:
        given = {key: value for key, value in (query or {}).items() if value != ""}
        url = self._api.configuration.host + path + (f"?{urlencode(given)}" if given else "")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        if method != "GET":
            self._permit()
        asked = time.time()
        try:
            answer = await self._api.call_api(method, url, headers, body, _request_timeout=self._timeout)
            payload = _payload(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
            API_REQUESTS.labels(method, "unreachable").inc()
            raise KubeError(0, "Unreachable", f"{method} {path}: {type(error).__name__}: {error}") from error
        clock.CLUSTER.heard(answer.headers.get("Date", ""), asked, time.time())
        API_REQUESTS.labels(method, str(answer.status)).inc()
        if answer.status >= 400:
            raise KubeError(
                answer.status, str(payload.get("reason", "")), str(payload.get("message", f"{method} {path}"))
            )
        return payload


def _payload(status: int, raw: bytes) -> Object:
    """Read an answer; errors of paths that the API server does not know come as plain text."""
    try:
        return dict(json.loads(raw or b"{}"))
    except json.JSONDecodeError:
        if status < 400:
            raise
        return {"message": raw.decode(errors="replace").strip()}
