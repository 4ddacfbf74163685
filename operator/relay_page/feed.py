"""One viewer's feed: what the token may read, followed by watches, told as differences."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_relay.api import words
from relay_page import gpus, jobs
from relay_page.viewer_client import ExpiredError, Object, ViewerClient, ViewerClientError

_PAUSE = 0.5
"""Least time between two tellings, in seconds: what changes in between is told once."""
_HEARTBEAT = 15.0
_RETRY = 3.0
_REFUSALS = frozenset({401, 403})


def jobs_path(namespace: str) -> str:
    """Return the path of the jobs of a namespace, or of all where it is empty."""
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{words.API_VERSION}{within}/{words.PLURAL}"


class DeltaEncoder:
    """Things by their key, and what has changed in them since it was last told."""

    def __init__(self) -> None:
        self.present: dict[str, Object] = {}
        self._told: dict[str, Object] = {}

    def replace(self, things: dict[str, Object]) -> None:
        """Let these be all there are."""
        self.present = things

    def take(self) -> Object | None:
        """Return `{put, gone}` since the last call; None where nothing has changed."""
        put = [thing for key, thing in self.present.items() if self._told.get(key) != thing]
        gone = [key for key in self._told if key not in self.present]
        self._told = dict(self.present)
        return {"put": put, "gone": gone} if put or gone else None


@dataclass
class Source:
    """A list that is followed. What may not be read is told as a problem, and the rest goes on without it."""

    path: str
    labels: str
    shape: Callable[[Object], Object]
    lacks: str
    """What the page shows less without it."""
    things: dict[str, Object] = field(default_factory=dict)
    version: str = ""
    problem: str | None = None

    async def read(self, window: ViewerClient) -> None:
        """List; WindowError where that is refused."""
        items, self.version = await window.list(self.path, {"labelSelector": self.labels})
        self.things = {item["metadata"]["uid"]: self.shape(item) for item in items}

    async def follow(self, window: ViewerClient) -> AsyncIterator[None]:
        """Watch after `read`, and yield after each change."""
        while True:
            try:
                async for kind, item in window.watch(self.path, {"labelSelector": self.labels}, self.version):
                    self.version = item["metadata"]["resourceVersion"]
                    if kind == "DELETED":
                        self.things.pop(item["metadata"]["uid"], None)
                    elif kind != "BOOKMARK":
                        self.things[item["metadata"]["uid"]] = self.shape(item)
                    if kind != "BOOKMARK":
                        yield
            except ExpiredError:
                await self.read(window)
                yield


class Feed:
    """Follows jobs, Leases and residents for one viewer."""

    def __init__(self, window: ViewerClient, namespace: str, system: str) -> None:
        """`namespace` is the one whose jobs are shown, empty for all; `system` is the operator's."""
        self._window = window
        self._jobs = Source(jobs_path(namespace), "", jobs.summary, "")
        self._leases = Source(
            f"/apis/coordination.k8s.io/v1/namespaces/{system}/leases", words.LABEL_GPU, gpus.lease,
            "GPUs are shown as the jobs tell of them",
        )  # fmt: skip
        self._residents = Source(
            f"/api/v1/namespaces/{system}/pods", words.LABEL_RESIDENT, gpus.resident,
            "whether the residents' pods are well is not shown",
        )  # fmt: skip
        self._news = asyncio.Event()
        self._trouble = ""

    async def open(self) -> None:
        """Read everything once; WindowError where the jobs may not be read, which is all that must be."""
        await self._jobs.read(self._window)
        for source in self._others:
            try:
                await source.read(self._window)
            except ViewerClientError as error:
                source.problem = f"{error} So {source.lacks}."

    @property
    def _others(self) -> Iterable[Source]:
        return (self._leases, self._residents)

    async def tell(self) -> AsyncIterator[str]:
        """Yield server-sent events until the viewer leaves or the token is no longer accepted."""
        sources = [self._jobs, *(each for each in self._others if each.problem is None)]
        tasks = [asyncio.create_task(self._follow(source)) for source in sources]
        told = {"gpus": DeltaEncoder(), "jobs": DeltaEncoder(), "trouble": DeltaEncoder()}
        yield event("problems", [each.problem for each in self._others if each.problem])
        try:
            while True:
                for text in self._changes(told):
                    yield text
                await asyncio.sleep(_PAUSE)
                while not await self._is_news_within(_HEARTBEAT):
                    yield ": still here\n\n"
                for task in filter(asyncio.Task.done, tasks):
                    task.result()
        except ViewerClientError as error:
            yield event("end", {"status": error.status, "message": str(error)})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changes(self, told: Mapping[str, DeltaEncoder]) -> Iterator[str]:
        """Return the events that bring a viewer who was told so much up to date."""
        self._news.clear()
        told["gpus"].replace({gpu["key"]: gpu for gpu in self._gpus()})
        told["jobs"].replace({job["uid"]: job for job in self._jobs.things.values()})
        told["trouble"].replace({"": {"message": self._trouble}})
        for name, differences in told.items():
            if (news := differences.take()) is not None:
                yield event(name, news)

    def _gpus(self) -> list[Object]:
        return gpus.gpus(self._jobs.things.values(), self._leases.things.values(), self._residents.things.values())

    async def _is_news_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        return self._news.is_set()

    async def _follow(self, source: Source) -> None:
        """Follow a source until it is refused; while the API server is away, say so and try again."""
        stale = False
        try:
            while True:
                try:
                    if stale:
                        await source.read(self._window)
                        stale, self._trouble = False, ""
                        self._news.set()
                    async for _ in source.follow(self._window):
                        self._news.set()
                except ViewerClientError as error:
                    if error.status in _REFUSALS:
                        raise
                    stale, self._trouble = True, str(error)
                    self._news.set()
                    await asyncio.sleep(_RETRY)
        finally:
            self._news.set()


def event(name: str, data: Any) -> str:
    """Return a server-sent event; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
