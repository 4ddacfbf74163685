"""One viewer's feed: what the token may read, kept up to date by watches, and sent as differences."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from gpu_relay.api import words
from gpu_relay.clients.resources import JOBS, LEASES, PODS, WORKLOADS, Resource
from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.lease import GpuLease, lease_of
from gpu_relay.domain.objects.listed_workload import ListedWorkload, listed_workload_of
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.represented import Represented
from gpu_relay.domain.objects.resident import ResidentPod, resident_pod_of
from gpu_relay.overview.ownership import workload_on_gpus
from relay_page import jobs, workloads
from relay_page.gpus import gpus
from relay_page.reports import ResidentReports
from relay_page.viewer_client import (
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    Right,
    ViewerClient,
    ViewerClientError,
)

_PAUSE = 0.5
"""Least time between two updates, in seconds: changes in between are sent together."""
_HEARTBEAT = 15.0
"""Longest time without an event, in seconds: proxies close a connection that is silent."""
_STILL_HERE = ": still here\n\n"
_RETRY = 3.0
_WHERE_TO_LOOK = "Name a namespace in which it may: the role `view` there is enough."
NOT_INSTALLED = (
    f"This cluster knows no {words.KIND}s: the CRD {words.PLURAL}.{words.GROUP} of GPU Relay is not installed."
)
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
    """A list that is followed."""

    def __init__(
        self, resource: Resource, namespace: str | None, labels: str, decode: Callable[[Object], T], shows: str = ""
    ) -> None:
        """`shows` is what the page shows with it; without it, the feed does not work."""
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._decode = decode
        self.shows = shows
        self.items: dict[str, T] = {}
        """By UID."""
        self.missing_right: Right | None = None
        """The right without which it cannot be followed."""
        self._version = ""

    async def read(self, client: ViewerClient) -> None:
        """List; ViewerClientError where that is refused."""
        items, self._version = await client.list(self._resource, self._namespace, self._labels)
        self.items = {item["metadata"]["uid"]: self._decode(item) for item in items}

    async def follow(self, client: ViewerClient) -> AsyncIterator[None]:
        """Watch after `read`, and yield after each change."""
        while True:
            try:
                changes = client.watch(self._resource, self._namespace, self._labels, self._version)
                async for kind, item in changes:
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

    def leave_out(self, right: Right) -> None:
        """Show nothing of it: the viewer lacks a right."""
        self.missing_right = right
        self.items.clear()


class Feed:
    """Follows jobs, Workloads, Leases and residents for one viewer."""

    def __init__(self, client: ViewerClient, namespace: str, system: str) -> None:
        """`namespace` is the one whose jobs are shown, empty for all; `system` is the operator's."""
        self._client = client
        self._namespace = namespace or None
        self._workloads: Source[ListedWorkload | None] | None = None
        """None without Kueue, or without a check of the operator; the items that are None are Workloads without it."""
        self._jobs: Source[jobs.JobRow] = Source(JOBS, self._namespace, "", jobs.row)
        self._leases: Source[GpuLease] = Source(
            LEASES, system, words.LABEL_GPU, lease_of, "the Leases, which record the owners of GPUs"
        )
        self._pods: Source[ResidentPod] = Source(
            PODS, system, words.LABEL_RESIDENT, resident_pod_of, "the pods of the residents"
        )
        self._reports = ResidentReports(client)
        self._changed = asyncio.Event()
        self._trouble = ""

    async def open(self) -> None:
        """Read everything once; ViewerClientError where the jobs, the only list that is required, may not be read."""
        try:
            await self._jobs.read(self._client)
        except ForbiddenError as error:
            raise ViewerClientError(403, f"{error} {_WHERE_TO_LOOK}") from error
        except NotFoundError as error:
            raise ViewerClientError(404, NOT_INSTALLED) from error
        checks = await workloads.find_checks(self._client)
        if checks is None or checks:
            self._workloads = Source(
                WORKLOADS, self._namespace, "", lambda raw: listed_workload_of(raw, checks), "Workloads of Kueue"
            )
        for source in self._optional:
            try:
                await source.read(self._client)
            except ForbiddenError as error:
                source.leave_out(error.right)

    @property
    def _optional(self) -> tuple[Source[Any], ...]:
        known = (self._leases, self._pods)
        return known if self._workloads is None else (*known, self._workloads)

    @property
    def _listed(self) -> list[ListedWorkload]:
        """The Workloads that have the operator's check."""
        return [each for each in self._workloads.items.values() if each is not None] if self._workloads else []

    @property
    def _known_leases(self) -> dict[str, GpuLease] | None:
        """The Leases by GPU; None where they may not be read."""
        known = self._leases.missing_right is None
        return {lease.gpu: lease for lease in self._leases.items.values()} if known else None

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events until the viewer disconnects or the token is no longer accepted."""
        sources = [self._jobs, *(each for each in self._optional if each.missing_right is None)]
        tasks = [asyncio.create_task(self._follow(source)) for source in sources]
        reporting = self._reports.follow(lambda: self._pods.items.values(), self._changed.set)
        tasks.append(asyncio.create_task(reporting))
        encoders = {"gpus": DeltaEncoder(), "jobs": DeltaEncoder(), "problems": DeltaEncoder()}
        try:
            while True:
                for text in list(self._changes(encoders)) or [_STILL_HERE]:
                    yield text
                await asyncio.sleep(_PAUSE)
                await self._wait_for_changes(_HEARTBEAT)
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
            "jobs": self._rows(),
            "problems": {"": {"trouble": self._trouble, "hidden": self._hidden()}},
        }
        for name, encoder in encoders.items():
            if (change := encoder.encode(present[name])) is not None:
                yield event(name, change)

    def _rows(self) -> dict[str, Object]:
        """Return the lines of jobs and Workloads, by UID."""
        lines = {uid: row.summary for uid, row in self._jobs.items.items()}
        everywhere = self._namespace is None
        more = workloads.rows(self._listed, lines.values(), self._known_leases, everywhere=everywhere)
        return lines | {line["uid"]: line for line in more}

    def _gpus(self) -> list[Object]:
        leases, listed = self._known_leases, {each.key: each for each in self._listed}
        on_gpus = [row.on_gpu for row in self._jobs.items.values()]
        on_gpus += [found for each in listed.values() for found in workload_on_gpus(each, leases)]
        pods = {f"{pod.namespace}/{pod.name}": pod for pod in self._pods.items.values()}
        residents = [self._reports.resident(pod) for pod in pods.values()]

        def represented(key: JobKey) -> Represented | None:
            return listed[key].represents if key in listed else None

        return gpus(filter(None, on_gpus), leases, pods, residents, represented)

    def _hidden(self) -> str:
        """Return one sentence on what the viewer's rights do not show; empty where they show everything."""
        missing = [(each.shows, each.missing_right) for each in self._optional]
        missing.append(("what the residents report of their GPUs", self._reports.missing_right))
        parts = [f"{what} ({right})" for what, right in missing if right is not None]
        return f"Your rights do not show: {'; '.join(parts)}." if parts else ""

    async def _wait_for_changes(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

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
                except ForbiddenError as error:
                    if source is self._jobs:
                        raise
                    source.leave_out(error.right)
                    return
                except ViewerClientError as error:
                    if self._has_ended(source, error):
                        return
                    stale, self._trouble = True, str(error)
                    self._changed.set()
                    await asyncio.sleep(_RETRY)
        finally:
            self._changed.set()

    def _has_ended(self, source: Source[Any], error: ViewerClientError) -> bool:
        """True if Kueue has been uninstalled: nothing is left to follow. Raise where the token is not accepted."""
        if error.status == 401:
            raise error
        if source is not self._workloads or not isinstance(error, NotFoundError):
            return False
        source.items.clear()
        return True


def event(name: str, data: Any) -> str:
    """Return a server-sent event; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
