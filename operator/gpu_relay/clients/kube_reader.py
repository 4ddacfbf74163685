"""Reads of the Kubernetes API: objects, lists in pages, watches and logs."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

from gpu_relay.clients.kube_error import Object, TooLargeError, status_error
from gpu_relay.clients.kube_response import lines
from gpu_relay.clients.rest_client import RestClient

_FIRST_PAGE = 50
_PAGE = 500
"""Objects of a list that are read at once: in the first page, and at most."""
_PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of a page: where more come, the page is read again with fewer objects, down to a single one of any size."""
_WATCH_GRACE = 10.0
"""Seconds for which a watch may be silent after the API server should have ended it."""


class KubeReader:
    """Reads with a time limit; every failure is a KubeError."""

    def __init__(self, rest: RestClient, *, page: int = _PAGE) -> None:
        """`page` is how many objects of a list are read at once, at most."""
        self._rest = rest
        self._page = page

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._rest.connection.server

    async def get(self, path: str, *, timeout: float | None = None) -> Object:
        """Read one object; `timeout` in seconds replaces the client's own."""
        return await self._rest.object("GET", path, timeout=timeout)

    async def read(self, path: str, query: Mapping[str, str], *, most: int, timeout: float | None = None) -> bytes:
        """Read a body that need not be JSON, such as a pod's answer; `TooLargeError` above `most` bytes."""
        return await self._rest.read(path, query, most=most, timeout=timeout)

    async def list(self, path: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read a whole list, live (a quorum read)."""
        return [item async for item in self.each(path, labels=labels, fields=fields)]

    async def list_with_version(self, path: str, *, labels: str = "", fields: str = "") -> tuple[Sequence[Object], str]:
        """Read a whole list, live; return the items, and the version after which to watch."""
        items: list[Object] = []
        version = ""
        async for page in self._pages(path, labels, fields):
            items += page.pop("items")
            version = str(page["metadata"]["resourceVersion"])
        return items, version

    async def list_some(self, path: str, *, fields: str, most_items: int) -> Sequence[Object]:
        """Read the first objects of a list, live, in one page."""
        page = await self._rest.object("GET", path, {"fieldSelector": fields, "limit": most_items})
        return tuple(page["items"])

    async def list_cached(self, path: str, *, fields: str) -> Sequence[Object]:
        """Read a short list from the API server's cache, where it is indexed: cheap, and seconds old at most."""
        page = await self._rest.object("GET", path, {"fieldSelector": fields, "resourceVersion": "0"})
        return tuple(page["items"])

    async def each(self, path: str, *, labels: str = "", fields: str = "") -> AsyncIterator[Object]:
        """Read a list, live, in pages, of which no more than one is held at a time, of 4 MiB or of one object.

        So the memory that it takes depends neither on the number of objects nor on their sizes.
        """
        async for page in self._pages(path, labels, fields):
            for item in page.pop("items"):
                yield item

    async def _pages(self, path: str, labels: str, fields: str) -> AsyncIterator[Object]:
        """Read a list in pages; take `items` out of each, so that it is not kept while the next is read."""
        token, limit = "", min(_FIRST_PAGE, self._page)
        while True:
            query = {"labelSelector": labels, "fieldSelector": fields, "limit": limit, "continue": token}
            try:
                page = await self._rest.object("GET", path, query, most=_PAGE_BYTES if limit > 1 else None)
            except TooLargeError:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            limit = min(self._page, limit + max(1, limit // 4))
            token = page["metadata"].get("continue", "")
            yield page
            if not token:
                return

    async def watch(
        self,
        path: str,
        *,
        version: str,
        seconds: int,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = False,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Yield (type, object) for each change after a version, until the API server ends the watch.

        With `bookmarks`, objects of type BOOKMARK have the newest version and nothing else. KubeError (status 410) for
        a version that is too old, `TooLargeError` for an object of more than 8 MiB.
        """
        query = {
            "watch": "1", "labelSelector": labels, "fieldSelector": fields, "resourceVersion": version,
            "timeoutSeconds": str(seconds), "allowWatchBookmarks": "true" if bookmarks else "",
        }  # fmt: skip
        async with self._rest.open("GET", path, query, timeout=seconds + _WATCH_GRACE) as response:
            async for line in lines(response):
                change = json.loads(line)
                if change["type"] == "ERROR":
                    raise status_error(change["object"].get("code", 500), change["object"], f"watch {path}")
                yield change["type"], change["object"]

    async def stream(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the parts of a body that is no JSON, such as a log, as they come, for at most so many seconds."""
        async with self._rest.open("GET", path, query, timeout=seconds) as response:
            async for part in response.content.iter_any():
                yield part
