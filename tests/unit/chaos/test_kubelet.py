"""The kubelet of the chaos runs against an API server that only remembers what it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

from gpu_relay.clients.kube import Object
from tests.chaos.api import Api
from tests.chaos.kubelet import Kubelet
from tests.chaos.residents import Residents

_JOB = {"gpurelay.dev/job": "{}"}


class _Residents:
    devices: ClassVar[dict[str, Any]] = {}
    gpu_of_node: ClassVar[dict[str, str]] = {}


class _Server:
    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()
        self.phases: asyncio.Queue[str] = asyncio.Queue()

    async def list_with_version(self, _path: str, **_selectors: str) -> tuple[list[Object], str]:
        return [], "1"

    async def follow(self, _path: str, _version: str, **_selectors: str) -> AsyncIterator[tuple[str, Object]]:
        while True:
            yield await self.events.get()

    async def merge(self, _path: str, body: Object) -> None:
        await self.phases.put(body["status"]["phase"])


def _pod(node: str = "") -> Object:
    return {
        "metadata": {"name": "job-1", "uid": "1", "labels": {"gpurelay.dev/job": "digits"}, "annotations": _JOB},
        "spec": {"containers": [{"name": "trainer"}], **({"nodeName": node} if node else {})},
    }


@asynccontextmanager
async def running_kubelet(server: _Server, seconds: float) -> AsyncIterator[Kubelet]:
    kubelet = Kubelet(cast(Api, server), "vision", cast(Residents, _Residents()), seconds)
    task = asyncio.create_task(kubelet.run())
    try:
        async with asyncio.timeout(10):
            yield kubelet
    finally:
        task.cancel()


def test_a_pod_that_is_not_bound_has_no_trainer_to_kill() -> None:
    async def scene() -> tuple[list[str], set[str]]:
        server = _Server()
        async with running_kubelet(server, seconds=0.0) as kubelet:
            await server.events.put(("ADDED", _pod()))
            while not server.events.empty():
                await asyncio.sleep(0)
            kubelet.kill()
            await server.events.put(("MODIFIED", _pod(node="gpu-node")))
            return [await server.phases.get(), await server.phases.get()], kubelet.killed

    assert asyncio.run(scene()) == (["Running", "Succeeded"], set())


def test_a_killed_trainer_is_remembered_by_its_job() -> None:
    async def scene() -> tuple[list[str], set[str]]:
        server = _Server()
        async with running_kubelet(server, seconds=60.0) as kubelet:
            await server.events.put(("ADDED", _pod(node="gpu-node")))
            phases = [await server.phases.get()]
            kubelet.kill()
            return [*phases, await server.phases.get()], kubelet.killed

    assert asyncio.run(scene()) == (["Running", "Failed"], {"digits"})
