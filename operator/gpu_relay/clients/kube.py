"""The client of the Kubernetes API, on plain dicts: typed models reject objects that the API server accepts.

The operator, `kubectl relay` and the process node of the local Kubernetes use it. The page, which only reads, uses
`KubeReader`, and so needs no Kubernetes library.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from gpu_relay.clients import credentials
from gpu_relay.clients.kube_error import KubeError as KubeError
from gpu_relay.clients.kube_error import Object as Object
from gpu_relay.clients.kube_reader import KubeReader
from gpu_relay.clients.rest_client import RestClient

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_STRATEGIC_MERGE = "application/strategic-merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


class Kube(KubeReader):
    """Reads and writes with a time limit; every failure is a KubeError."""

    def __init__(self, rest: RestClient, *, field_manager: str) -> None:
        super().__init__(rest)
        self._field_manager = field_manager

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
    ) -> AsyncIterator["Kube"]:
        """Connect with a kubeconfig; without one, from inside a pod, or else with the default kubeconfig.

        `timeout` is in seconds; for `count` see `RestClient`.
        """
        async with credentials.connect(kubeconfig, context) as connection:
            yield Kube(RestClient(connection, timeout, count=count), field_manager=field_manager)

    def writing_if(self, permit: Callable[[], None]) -> "Kube":
        """Return a client on the same connections that calls `permit` before each write; it raises to forbid it."""
        return Kube(replace(self._rest, permit=permit), field_manager=self._field_manager)

    async def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; with `dry_run` it passes admission, quota included, and is not stored."""
        query = {"fieldManager": self._field_manager, "dryRun": "All" if dry_run else ""}
        return await self._rest.object("POST", path, query, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object; with a `resourceVersion` in it this is a compare-and-swap."""
        return await self._rest.object("PUT", path, {"fieldManager": self._field_manager}, body)

    async def apply(self, path: str, body: Object, *, manager: str = "") -> Object:
        """Apply on the server side, taking over these fields from other managers.

        `manager` replaces the client's own, whose other fields of the object an apply would remove.
        """
        query = {"fieldManager": manager or self._field_manager, "force": "true"}
        return await self._rest.object("PATCH", path, query, body, content_type=_APPLY)

    async def merge(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Change these fields, None removes one; with a `resourceVersion` in it this is a compare-and-swap."""
        query = {"fieldManager": self._field_manager, "dryRun": "All" if dry_run else ""}
        return await self._rest.object("PATCH", path, query, body, content_type=_MERGE)

    async def remove_field(self, path: str, field: str, value: str) -> Object:
        """Remove one field of an object; KubeError (invalid) if it has another value than this, or none.

        `field` is a JSON pointer (RFC 6901).
        """
        operations: list[Object] = [
            {"op": "test", "path": field, "value": value},
            {"op": "remove", "path": field},
        ]
        query = {"fieldManager": self._field_manager}
        return await self._rest.object("PATCH", path, query, operations, content_type=_JSON_PATCH)

    async def strategic_merge(self, path: str, body: Object) -> Object:
        """Change these fields; lists are merged by their keys."""
        query = {"fieldManager": self._field_manager}
        return await self._rest.object("PATCH", path, query, body, content_type=_STRATEGIC_MERGE)

    async def set_field(self, path: str, resource_version: str, field: str, value: Object) -> Object:
        """Replace one field of an object, whichever manager owns it; KubeError (conflict) if the object has changed.

        `field` is a JSON pointer (RFC 6901), such as `/status`.
        """
        operations: list[Object] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": field, "value": value},
        ]
        query = {"fieldManager": self._field_manager}
        return await self._rest.object("PATCH", path, query, operations, content_type=_JSON_PATCH)

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
            await self._rest.object("DELETE", path, None, body)
        except KubeError as error:
            if not (error.not_found or error.conflict):
                raise
