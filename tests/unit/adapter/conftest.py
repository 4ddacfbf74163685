"""An adapter in this process, before a scripted engine on a simulated GPU."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import pytest

import gpu_memory
from devcluster.scripted.engines import CONTEXT_MIB, ENGINES, ScriptedEngine
from gpu_memory import GpuMemory, Ledger
from relay_adapter.app import served
from relay_adapter.profile import read_profile
from relay_adapter.server import Adapter, adapter_of
from relay_adapter.settings import Settings
from residency import coordinator as coordinator_module
from residency.api.auth import OpenControl

NEED_MIB = 10_000
HERE = {"bind_address": "127.0.0.1", "proxy_port": 0, "shutdown_timeout": 0}


@dataclass
class Scene:
    """The adapter under test, its engine, and clients of both ports."""

    adapter: Adapter
    engine: ScriptedEngine
    ledger: Ledger
    control: httpx.AsyncClient
    client: aiohttp.ClientSession
    """Of the proxy."""

    async def unload(self, fence: int = 1, **terms: Any) -> httpx.Response:
        body = {"holder": "job/a", "fence": fence, "renew_key": "key", **terms}
        return await self.control.post("/api/v1/unload", json=body)

    async def load(self, fence: int = 1) -> httpx.Response:
        return await self.control.post("/api/v1/load", json={"holder": "job/a", "fence": fence})

    async def health(self) -> dict[str, Any]:
        health: dict[str, Any] = (await self.control.get("/health")).json()
        return health

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    async def is_loaded(self) -> None:
        await self.until(lambda: self.adapter.coordinator.loaded)


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))


def reader(ledger: Ledger) -> Callable[[], GpuMemory]:
    def read() -> GpuMemory:
        used = ledger.used_mib
        free = ledger.total_mib - ledger.reserved_mib - used
        return GpuMemory(ledger.uuid, ledger.name, ledger.total_mib, ledger.reserved_mib, used, free)

    return read


@pytest.fixture
async def scene(
    request: pytest.FixtureRequest, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A parameter names the profile, and may add settings, a command and whether the engine begins loaded."""
    monkeypatch.setattr(coordinator_module, "RECONCILE_SECONDS", 0.02)
    monkeypatch.setattr("relay_adapter.engine.LOOK_SECONDS", 0.05)
    options: dict[str, Any] = dict(getattr(request, "param", {}))
    name: str = options.pop("profile", "vllm")
    command: Sequence[str] = options.pop("command", ())
    engine = ENGINES[name](ledger, context_mib=CONTEXT_MIB, loaded=options.pop("loaded", True))
    fields = {"profile": name, "model": "m", "engine": engine.url, "gpu_memory_mib": NEED_MIB, "control": "open"}
    settings = Settings.model_validate({**fields, "call_timeout": 1.0, "load_timeout": 2.0, **options})
    profile = read_profile(name, "m")
    async with (
        adapter_of(settings, profile, command, OpenControl(), reader(ledger)) as adapter,
        served(adapter.proxy, settings.model_copy(update=HERE)) as port,
        adapter.app.router.lifespan_context(adapter.app),
        httpx.AsyncClient(transport=httpx.ASGITransport(adapter.app), base_url="http://control") as control,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as client,
    ):
        yield Scene(adapter, engine, ledger, control, client)
    engine.close()
