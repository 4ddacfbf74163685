"""The client of the Kubernetes API, on plain dicts: typed models reject objects that the API server accepts.

The operator, `kubectl relay` and the process node of the local Kubernetes use it.
"""

import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import rest

from gpu_relay.clients import clock
from gpu_relay.clients.kube_error import KubeError as KubeError
from gpu_relay.clients.kube_error import api_error, unreachable
from gpu_relay.clients.kube_response import PageTooLargeError, payload_of, read_body

Object = dict[str, Any]
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_CONNECT_SECONDS = 5.0
_FIRST_PAGE = 50
_PAGE = 500
"""Objects of a list that are read at once: in the first page, and at most."""
_PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of a page: where more come, the page is read again with fewer objects, down to a single one of any size."""
_WATCH_GRACE = 10.0
"""Seconds for which a watch may be silent after the API server should have ended it."""

_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Kube:
    """Requests with a time limit; every failure is a KubeError."""

    def __init__(
        self,
        api: client.ApiClient,
        *,
        field_manager: str,
        timeout: float,
        permit: Callable[[], None] = lambda: None,
        count: Callable[[str, str], None] = lambda _method, _status: None,
    ) -> None:
        """`timeout` is in seconds.

        `permit` is called before each write, and raises when this process must not write. `count` is called after each
        request with its method and the status of the response, `unreachable` where there is none.
        """
        self._api = api
        self._field_manager = field_manager
        self._timeout = timeout
        self._permit = permit
        self._count = count

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        field_manager: str,
        timeout: float,
        kubeconfig: str | None = None,
        context: str | None = None,
        count: Callable[[str, str], None] = lambda _method, _status: None,
    ) -> AsyncIterator[Self]:
        """Connect with a kubeconfig; without one, from inside a pod, or else with the default kubeconfig."""
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config()
        else:
            await config.load_kube_config(kubeconfig, context)
        configuration = client.Configuration.get_default_copy()
        # Proxies count, ~/.netrc does not: aiohttp would read it in a thread for every request.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        async with client.ApiClient(configuration) as api:
            yield cls(api, field_manager=field_manager, timeout=timeout, count=count)

    def writing_if(self, permit: Callable[[], None]) -> Self:
        """Return a client on the same connections that calls `permit` before each write; it raises to forbid it."""
        return type(self)(
            self._api, field_manager=self._field_manager, timeout=self._timeout, permit=permit, count=self._count
        )

    @property
    def configuration(self) -> client.Configuration:
        """The API server's address, and how it is authenticated."""
        return self._api.configuration

    async def get(self, path: str, *, timeout: float | None = None) -> Object:
        """Read one object; `timeout` in seconds replaces the client's own."""
        return await self._request("GET", path, timeout=timeout)

    async def list(self, path: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read a whole list, live (a quorum read)."""
        return [item async for item in self.each(path, labels=labels, fields=fields)]

    async def list_with_version(self, path: str, *, fields: str) -> tuple[Sequence[Object], str]:
        """Read a whole list in one page, live; return the items, and the version after which to watch."""
        page = await self._request("GET", path, {"fieldSelector": fields})
        return tuple(page["items"]), str(page["metadata"]["resourceVersion"])

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
            except PageTooLargeError:
                limit = max(1, limit // 4)
                continue
            limit = min(_PAGE, limit + max(1, limit // 4))
            token = page["metadata"].get("continue", "")
            for item in page.pop("items"):
                yield item
            if not token:
                return

    async def watch(
        self, path: str, *, version: str, seconds: int, fields: str = ""
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Yield (type, object) for each change after a version, until the API server ends the watch.

        KubeError (status 410) for a version that is too old.
        """
        query = {
            "watch": "1", "fieldSelector": fields, "resourceVersion": version, "timeoutSeconds": str(seconds),
        }  # fmt: skip
        answer = await self._send("GET", path, query, timeout=seconds + _WATCH_GRACE)
        try:
            if answer.status >= 400:
                raise api_error(answer.status, payload_of(answer.status, await answer.read()), f"watch {path}")
            async for line in answer.response.content:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    raise api_error(change["object"].get("code", 500), change["object"], f"watch {path}")
                yield change["type"], change["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise unreachable(f"watch {path}", error) from error
        finally:
            answer.response.close()

    async def stream(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the parts of a body that is no JSON, such as a log, as they come, for at most so many seconds."""
        answer = await self._send("GET", path, query, timeout=seconds)
        try:
            if answer.status >= 400:
                raise api_error(answer.status, payload_of(answer.status, await answer.read()), f"GET {path}")
            async for part in answer.response.content.iter_any():
                yield part
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(f"GET {path}", error) from error
        finally:
            answer.response.close()

    async def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; with `dry_run` it passes admission, quota included, and is not stored."""
        query = {"fieldManager": self._field_manager, "dryRun": "All" if dry_run else ""}
        return await self._request("POST", path, query, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object; with a `resourceVersion` in it this is a compare-and-swap."""
        return await self._request("PUT", path, {"fieldManager": self._field_manager}, body)

    async def apply(self, path: str, body: Object, *, manager: str = "") -> Object:
        """Apply on the server side, taking over these fields from other managers.

        `manager` replaces the client's own, whose other fields of the object an apply would remove.
        """
        query = {"fieldManager": manager or self._field_manager, "force": "true"}
        return await self._request("PATCH", path, query, body, content_type=_APPLY)

    async def merge(self, path: str, body: Object) -> Object:
        """Change these fields, None removes one; with a `resourceVersion` in it this is a compare-and-swap."""
        return await self._request("PATCH", path, {"fieldManager": self._field_manager}, body, content_type=_MERGE)

    async def strategic_merge(self, path: str, body: Object) -> Object:
        """Change these fields; lists are merged by their keys."""
        query = {"fieldManager": self._field_manager}
        return await self._request("PATCH", path, query, body, content_type=_STRATEGIC_MERGE)

    async def set_field(self, path: str, resource_version: str, field: str, value: Object) -> Object:
        """Replace one field of an object, whichever manager owns it; KubeError (conflict) if the object has changed.

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
        """Delete the object with this UID (and version), unless it has been deleted or replaced already.

        `foreground` keeps the object until its dependents are deleted. `grace` is a pod's grace period in seconds.
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
        method: _Method,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Object | Sequence[Object] | None = None,
        *,
        content_type: str = "application/json",
        most: int | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Send a request and return the response; `PageTooLargeError` where it has more than `most` bytes."""
        asked = time.time()
        answer = await self._send(method, path, query, body, content_type=content_type, timeout=timeout)
        try:
            payload = payload_of(answer.status, await read_body(answer, most))
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
            self._count(method, "unreachable")
            raise unreachable(f"{method} {path}", error) from error
        clock.CLUSTER.heard(answer.headers.get("Date", ""), asked, time.time())
        self._count(method, str(answer.status))
        if answer.status >= 400:
            raise api_error(answer.status, payload, f"{method} {path}")
        return payload

    async def _send(
        self,
        method: _Method,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Object | Sequence[Object] | None = None,
        *,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> rest.RESTResponse:
        """Send a request; KubeError (status 0) where no response comes."""
        given = {key: value for key, value in (query or {}).items() if value != ""}
        url = self._api.configuration.host + path + (f"?{urlencode(given)}" if given else "")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        if method != "GET":
            self._permit()
        total = self._timeout if timeout is None else timeout
        limits = aiohttp.ClientTimeout(total=total, connect=min(_CONNECT_SECONDS, total))
        try:
            return await self._api.call_api(method, url, headers, body, _request_timeout=limits)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count(method, "unreachable")
            raise unreachable(f"{method} {path}", error) from error
