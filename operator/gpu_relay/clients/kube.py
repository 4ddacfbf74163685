"""A thin client of the Kubernetes API on plain dicts: the typed models reject objects that the server accepts."""

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import rest

from gpu_relay.clients import clock
from gpu_relay.observability.metrics import API_REQUESTS

Object = dict[str, Any]
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_FIRST_PAGE = 50
_PAGE = 500
"""Objects of a list that are read at once: of the first page, and at most."""
_PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of a page: where more come, the page is read again with fewer objects, down to a single one of any size."""
_CHUNK = 256 * 1024


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
        """The request itself is at fault: repeating it would not help. A token may be refused for a moment (401)."""
        return 400 <= self.status < 500 and self.status not in {401, 404, 408, 409, 429}

    @property
    def invalid(self) -> bool:
        """The object breaks the rules of its kind."""
        return self.status in {400, 422}

    @property
    def unavailable(self) -> bool:
        """The API server does not answer, or answers nobody now: another request would fare no better."""
        return self.status in {0, 429, 503}


class _PageTooLargeError(Exception):
    """A page of a list has more bytes than are read at once."""


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

    async def list_cached(self, path: str, *, fields: str) -> Sequence[Object]:
        """Read a short list from the API server's cache, where it is indexed: cheap, and seconds old at most."""
        page = await self._request("GET", path, {"fieldSelector": fields, "resourceVersion": "0"})
        return tuple(page["items"])

    async def each(self, path: str, *, labels: str = "", fields: str = "") -> AsyncIterator[Object]:
        """Read a list, live, in pages, of which no more than one is held at a time, of 4 MiB or of one object.

        So the memory that it takes depends neither on the number of objects nor on their sizes.
        """
        token, limit = "", _FIRST_PAGE
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        while True:
            query = {**selectors, "limit": limit, "continue": token}
            try:
                page = await self._request("GET", path, query, most=_PAGE_BYTES if limit > 1 else None)
            except _PageTooLargeError:
                limit = max(1, limit // 4)
                continue
            limit = min(_PAGE, limit + max(1, limit // 4))
            token = page["metadata"].get("continue", "")
            for item in page.pop("items"):
                yield item
            if not token:
                return

    async def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; with `dry_run` it passes admission, quota included, and is not stored."""
        query = {"fieldManager": self._field_manager, "dryRun": "All" if dry_run else ""}
        return await self._request("POST", path, query, body)

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

    async def set_field(self, path: str, resource_version: str, field: str, value: Object) -> Object:
        """Replace one field of an object, whoever wrote what is in it; KubeError (conflict) if it has changed.

        `field` is a JSON pointer (RFC 6901), such as `/status`.
        """
        operations: list[Object] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": field, "value": value},
        ]
        query = {"fieldManager": self._field_manager}
        return await self._request("PATCH", path, query, operations, content_type=_JSON_PATCH)

    async def delete(
        self,
        path: str,
        *,
        uid: str,
        resource_version: str | None = None,
        foreground: bool = False,
        grace: int | None = None,
    ) -> None:
        """Delete the object with this UID (and version); one that is gone or replaced is none of our business.

        `foreground` keeps the object until those that it owns are gone. `grace` is the time in seconds that a pod gets.
        """
        body: Object = {"preconditions": {"uid": uid}}
        if resource_version is not None:
            body["preconditions"]["resourceVersion"] = resource_version
        if foreground:
            body["propagationPolicy"] = "Foreground"
        if grace is not None:
            body["gracePeriodSeconds"] = grace
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
        body: Object | Sequence[Object] | None = None,
        *,
        content_type: str = "application/json",
        most: int | None = None,
    ) -> Object:
        """Send a request and return the answer; `_PageTooLargeError` where it has more than `most` bytes."""
        given = {key: value for key, value in (query or {}).items() if value != ""}
        url = self._api.configuration.host + path + (f"?{urlencode(given)}" if given else "")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        if method != "GET":
            self._permit()
        asked = time.time()
        try:
            answer = await self._api.call_api(method, url, headers, body, _request_timeout=self._timeout)
            payload = _payload(answer.status, await _read(answer, most))
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


async def _read(answer: rest.RESTResponse, most: int | None) -> bytes:
    """Return the body of an answer; `_PageTooLargeError`, without the rest of it, where there is too much."""
    if most is None:
        return bytes(await answer.read())
    parts, size = [], 0
    async for part in answer.response.content.iter_chunked(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            answer.response.close()
            raise _PageTooLargeError
    return b"".join(parts)


def _payload(status: int, raw: bytes) -> Object:
    """Read an answer; errors of paths that the API server does not know come as plain text."""
    try:
        return dict(json.loads(raw or b"{}"))
    except json.JSONDecodeError:
        if status < 400:
            raise
        return {"message": raw.decode(errors="replace").strip()}
