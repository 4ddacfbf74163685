"""A server whose worker and GPU are scripted, spoken to over its real routes."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from sam3_server import service as service_module
from sam3_server.app import create_app
from sam3_server.auth import OpenControl
from sam3_server.fallback import CpuFallback
from sam3_server.host_memory import HostBudget
from sam3_server.inference import RequestLimits
from sam3_server.metrics import Metrics
from sam3_server.service import Policy, Service
from tests.unit.sam3.sam3_scripted import LIMITS, NEED, Script, ScriptedGpu

MAX_PIXELS = 10_000


def png(width: int = 8, height: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


class Resident:
    """One server: what it runs on, and calls to it."""

    def __init__(self, app: FastAPI, script: Script, cpu: Script, client: httpx.AsyncClient) -> None:
        self.app = app
        self.service: Service = app.state.service
        self.script = script
        self.cpu = cpu
        self.gpu = script.gpu
        self.client = client

    async def segment(self, *prompts: str, image: bytes | None = None, **fields: Any) -> httpx.Response:
        files = {"image": ("image.png", png() if image is None else image)}
        return await self.client.post(
            "/api/v1/segment", files=files, data={"prompt": list(prompts) or ["cat"], **fields}
        )

    def begin(self, call: Any) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(call)

    async def unload(self, holder: str = "job/a", fence: int = 1, **terms: Any) -> httpx.Response:
        body = {"holder": holder, "fence": fence, "renew_key": "secret", **terms}
        return await self.client.post("/api/v1/unload", json=body)

    async def load(self, holder: str = "job/a", fence: int = 1) -> httpx.Response:
        return await self.client.post("/api/v1/load", json={"holder": holder, "fence": fence})

    async def health(self) -> dict[str, Any]:
        health: dict[str, Any] = (await self.client.get("/health")).json()
        return health

    async def measured(self) -> dict[str, Any]:
        measured: dict[str, Any] = (await self.client.get("/api/v1/gpu")).json()
        return measured

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def resident(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Resident]:
    """Start a server in this process; a parameter may change the policy."""
    monkeypatch.setattr(service_module, "KEEP_SECONDS", 0.01)
    options: dict[str, Any] = getattr(request, "param", {})
    script = Script(ScriptedGpu())
    metrics = Metrics()
    policy = Policy(
        need_mib=NEED,
        standby=options.get("standby", True),
        host=options.get("host", HostBudget(need_mib=0, reserve_mib=0)),
        max_in_flight=options.get("max_in_flight", 4),
        max_pixels=MAX_PIXELS,
        held_wait=options.get("held_wait", 0.0),
        hold_file=None,
        limits=LIMITS,
    )
    cpu = Script(ScriptedGpu(), need_mib=0)
    fallback = CpuFallback(cpu.launch, LIMITS, 2) if options.get("fallback") else None
    service = Service(policy, script.launch, script.gpu.read, metrics, fallback)
    app = create_app(service, OpenControl(), metrics, RequestLimits(image_mib=1, prompts=3, instances=50))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://sam3")
    async with app.router.lifespan_context(app), client:
        yield Resident(app, script, cpu, client)
        script.stuck = False
        script.inferring.set()
