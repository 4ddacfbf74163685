"""One viewer's feed: what the token may read, kept up to date by watches, and sent as differences."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from gpu_relay.api import words
from gpu_relay.clients.resources import JOBS, LEASES, PODS
from gpu_relay.domain.objects.lease import GpuLease, lease_of
from gpu_relay.domain.objects.resident import ResidentPod, resident_pod_of
from relay_page import jobs
from relay_page.gpus import gpus
from relay_page.viewer_client import ExpiredError, Object, ViewerClient, ViewerClientError

_PAUSE = 0.5
"""Least time between two updates, in seconds: changes in between are sent together."""
_HEARTBEAT = 15.0
_RETRY = 3.0
_REFUSALS = frozenset({401, 403})
T = TypeVar("T")


class DeltaEncoder:
    """Objects by their key, encoded as what has changed since the last update."""

    def __init__(self) -> None:
        self._sent: dict[str, Object] = {}

    def encode(self, present: dict[str, Object]) -> Object | None:
        """Return `{put, gone}` since the last call; None where nothing has changed."""
        put = [each for key, each in present.items() if self._sent.get(key) != each]
        gone = [key for key in self._sent if key not in present]
        self._sent = dict(present)
        return {"put": put, "gone": gone} if put or gone else None


class Source(Generic[T]):
    """A list that is followed. Where it may not be read, that is a problem to show, and the feed continues without."""

    def __init__(self, path: str, labels: str, decode: Callable[[Object], T], consequence: str = "") -> None:
        """`consequence` says what the page shows without it."""
        self._path = path
        self._query = {"labelSelector": labels}
        self._decode = decode
        self.consequence = consequence
        self.items: dict[str, T] = {}
        """By UID."""
        self.problem: str | None = None
        self._version = ""

    async def read(self, client: ViewerClient) -> None:
        """List; ViewerClientError where that is refused."""
        items, self._version = await client.list(self._path, self._query)
        self.items = {item["metadata"]["uid"]: self._decode(item) for item in items}

    async def follow(self, client: ViewerClient) -> AsyncIterator[None]:
        """Watch after `read`, and yield after each change."""
        while True:
            try:
                async for kind, item in client.watch(self._path, self._query, self._version):
                    self._version = item["metadata"]["resourceVersion"]
                    if kind == "DELETED":
                        self.items.pop(item["metadata"]["uid"], None)
                    elif kind != "BOOKMARK":
                        self.items[item["metadata"]["uid"]] = self._decode(item)
                    if kind != "BOOKMARK":
                        yield
            except ExpiredError:
                await self.read(client)
                yield


class Feed:
    """Follows jobs, Leases and residents for one viewer."""

    def __init__(self, client: ViewerClient, namespace: str, system: str) -> None:
        """`namespace` is the one whose jobs are shown, empty for all; `system` is the operator's."""
        self._client = client
        self._jobs: Source[jobs.JobRow] = Source(JOBS.path(namespace or None), "", jobs.row)
        self._leases: Source[GpuLease] = Source(
            LEASES.path(system), words.LABEL_GPU, lease_of, "GPUs are shown from the statuses of jobs"
        )
        self._residents: Source[ResidentPod] = Source(
            PODS.path(system), words.LABEL_RESIDENT, resident_pod_of, "the state of residents' pods is not shown"
        )
        self._changed = asyncio.Event()
        self._trouble = ""

    async def open(self) -> None:
        """Read everything once; ViewerClientError where the jobs, the only list that is required, may not be read."""
        await self._jobs.read(self._client)
        for source in self._optional:
            try:
                await source.read(self._client)
            except ViewerClientError as error:
                source.problem = f"{error} So {source.consequence}."

    @property
    def _optional(self) -> tuple[Source[Any], ...]:
        return (self._leases, self._residents)

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events until the viewer disconnects or the token is no longer accepted."""
        sources = [self._jobs, *(each for each in self._optional if each.problem is None)]
        tasks = [asyncio.create_task(self._follow(source)) for source in sources]
        encoders = {"gpus": DeltaEncoder(), "jobs": DeltaEncoder(), "trouble": DeltaEncoder()}
        yield event("problems", [each.problem for each in self._optional if each.problem])
        try:
            while True:
                for text in self._changes(encoders):
                    yield text
                await asyncio.sleep(_PAUSE)
                while not await self._changes_within(_HEARTBEAT):
                    yield ": still here\n\n"
                for task in filter(asyncio.Task.done, tasks):
                    task.result()
        except ViewerClientError as error:
            yield event("end", {"status": error.status, "message": str(error)})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changes(self, encoders: Mapping[str, DeltaEncoder]) -> Iterator[str]:
        """Return the events that bring the viewer up to date."""
        self._changed.clear()
        present = {
            "gpus": {gpu["key"]: gpu for gpu in self._gpus()},
            "jobs": {uid: row.summary for uid, row in self._jobs.items.items()},
            "trouble": {"": {"message": self._trouble}},
        }
        for name, encoder in encoders.items():
            if (change := encoder.encode(present[name])) is not None:
                yield event(name, change)

    def _gpus(self) -> list[Object]:
        on_gpus = (row.on_gpu for row in self._jobs.items.values() if row.on_gpu is not None)
        leases = {lease.gpu: lease for lease in self._leases.items.values()} if self._leases.problem is None else None
        return gpus(on_gpus, leases, self._residents.items.values())

    async def _changes_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        return self._changed.is_set()

    async def _follow(self, source: Source[Any]) -> None:
        """Follow a source until it is refused; while the API server is unreachable, report that and retry."""
        stale = False
        try:
            while True:
                try:
                    if stale:
                        await source.read(self._client)
                        stale, self._trouble = False, ""
                        self._changed.set()
                    async for _ in source.follow(self._client):
                        self._changed.set()
                except ViewerClientError as error:
                    if error.status in _REFUSALS:
                        raise
                    stale, self._trouble = True, str(error)
                    self._changed.set()
                    await asyncio.sleep(_RETRY)
        finally:
            self._changed.set()


def event(name: str, data: Any) -> str:
    """Return a server-sent event; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
