"""A server whose worker and GPU are scripted, spoken to over its real routes."""

import asyncio
import io
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from residency import coordinator as coordinator_module
from residency.api.auth import OpenControl
from residency.api.connection_limits import ConnectionLimits, bounded_protocol
from residency.coordinator import Coordinator
from residency.hold import HoldBook, Terms
from residency.hold_file import HoldFile
from residency.policy import Policy
from sam3_server.api.access import OPEN
from sam3_server.api.app import create_app
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.intake.protocol import RequestLimits
from sam3_server.serving.cpu_fallback import CpuFallback
from sam3_server.serving.host_memory import HostBudget
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.segmentation import SegmentationService
from sam3_server.serving.standby import StandbyManager
from sam3_server.serving.worker_pool import WorkerPool
from tests.unit.sam3.scripted import LIMITS, NEED, ReadHere, Script, ScriptedGpu

MAX_PIXELS = 10_000
MAX_BODY = 3 << 20
ASKED = RequestLimits(image_mib=1, pixels=MAX_PIXELS, prompts=3, instances=50, mask_pixels=15_000)


@pytest.fixture(autouse=True)
def pillow_as_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what Ultralytics does to Pillow where another test has imported it: SAM3's image does not have it.

    Its `Image.open` imports a package that reads HEIC, which is not installed, when a file has an unknown format.
    """
    patches = sys.modules.get("ultralytics.utils.patches")
    if patches is not None:
        monkeypatch.setattr(Image, "open", patches._image_open)


def png(width: int = 8, height: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


class Clock:
    """The clock of holds; a test lets seconds pass."""

    passed = 0.0

    def now(self) -> float:
        return time.monotonic() + self.passed


class Resident:
    """One server: what it runs on, and calls to it."""

    def __init__(self, app: FastAPI, script: Script, cpu: Script, client: httpx.AsyncClient, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.coordinator: Coordinator = app.state.coordinator
        self.pool: WorkerPool = app.state.segmentation._pool
        self.fallback: CpuFallback | None = app.state.segmentation._fallback
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


def held_before(path: Path) -> Path:
    """Write the file that a server with a hold of another 600 s has left."""
    book = HoldBook()
    book.place(Terms("job/a", 1, 600, "secret"), 0.0)
    HoldFile(path).write(book, 0.0, time.time())
    return path


@pytest.fixture
async def resident(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Resident]:
    """Start a server in this process; a parameter may change the policy, and what it finds."""
    monkeypatch.setattr(coordinator_module, "RECONCILE_SECONDS", 0.01)
    options: dict[str, Any] = getattr(request, "param", {})
    script = Script(ScriptedGpu(others=options.get("others", 0)))
    metrics = Metrics()
    policy = Policy(
        need_mib=NEED,
        max_in_flight=options.get("max_in_flight", 4),
        max_per_client=options.get("max_per_client", 4),
        held_wait=options.get("held_wait", 0.0),
        hold_file=held_before(tmp_path / "hold.json") if options.get("held") else None,
        preload=options.get("preload", False),
        ready_when_loaded=options.get("ready_when_loaded", False),
        idle_unload=options.get("idle_unload", 0.0),
    )
    cpu = Script(ScriptedGpu(), need_mib=0)
    fallback = CpuFallback(cpu.launch, LIMITS, 2) if options.get("fallback") else None
    clock = Clock()
    pool = WorkerPool(script.launch, LIMITS)
    metrics.watch_standby(pool)
    host = options.get("host", HostBudget(need_mib=0, reserve_mib=0))
    standby = StandbyManager(pool, options.get("standby", True), fallback, host)
    coordinator = Coordinator(policy, pool, standby, script.gpu.read, metrics, clock.now)
    segmentation = SegmentationService(coordinator, pool, fallback, ReadHere(ASKED), metrics)
    seconds = options.get("transfer_timeout", 5.0)
    bodies, access = BodyReceiver(MAX_BODY, seconds), options.get("access", OPEN)
    app = create_app(coordinator, segmentation, OpenControl(), metrics, bodies, seconds, access=access)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://sam3")
    async with app.router.lifespan_context(app), client:
        yield Resident(app, script, cpu, client, clock)
        script.stuck = False
        script.inferring.set()
        script.encoding.set()


@pytest.fixture
async def port(resident: Resident) -> AsyncIterator[int]:
    """Serve the resident as `sam3-server` does, on a port of this machine."""
    http = bounded_protocol(ConnectionLimits(most=256, per_client=64, answer_seconds=60))
    config = uvicorn.Config(
        resident.app, port=0, http=http, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await resident.until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving
