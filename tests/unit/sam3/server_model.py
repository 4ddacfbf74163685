"""The server under test and its stage, for machines that send it events in any order."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import httpx
from hypothesis.stateful import RuleBasedStateMachine, initialize

from residency import coordinator as coordinator_module
from residency.api.auth import OpenControl
from residency.coordinator import Coordinator
from residency.gpu_measurement import ReadMemory
from residency.hold import FenceError, HoldBook
from residency.policy import Policy
from sam3_server.api.app import create_app
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.serving.host_memory import HostBudget
from sam3_server.serving.metrics import Metrics
from sam3_server.serving.segmentation import SegmentationService
from sam3_server.serving.standby import StandbyManager
from sam3_server.serving.worker_pool import WorkerPool, WorkerTimeouts
from sam3_server.worker.interface import Launch, Worker
from tests.unit.sam3.conftest import ASKED, MAX_BODY, png
from tests.unit.sam3.scripted import NEED, ReadHere, Script, ScriptedGpu

Answer = TypeVar("Answer")


class Switch(Protocol):
    """Lets workers proceed, or not."""

    def set(self) -> None: ...

    def clear(self) -> None: ...


class Mortal(Worker, Protocol):
    """A worker that can be made to die."""

    def die(self) -> None: ...


class Gpu(Protocol):
    """MiB that others hold, and that workers hold."""

    others: int

    @property
    def workers(self) -> int: ...


class Stage(Protocol):
    """What the server runs on. `out_of_memory` counts workers that were sent where there was no memory."""

    limits: WorkerTimeouts
    out_of_memory: int

    @property
    def gpu(self) -> Gpu: ...

    @property
    def preparing(self) -> Switch: ...

    @property
    def inferring(self) -> Switch: ...

    @property
    def launched(self) -> Sequence[Mortal]: ...

    @property
    def launch(self) -> Launch: ...

    @property
    def read(self) -> ReadMemory: ...


class ServerUnderTest(RuleBasedStateMachine):
    """The server with its stage, beside what the model expects: the holds, and whether SAM3 is loaded or is to load."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = self.begun()
        self.clock = 0.0
        self.kept = coordinator_module.RECONCILE_SECONDS
        coordinator_module.RECONCILE_SECONDS = 3600.0  # the test calls `reconcile` itself
        self.script = self.stage()
        self.slow: asyncio.Task[httpx.Response] | None = None

    def begun(self) -> asyncio.Runner:
        return asyncio.Runner()

    def stage(self) -> Stage:
        return Script(ScriptedGpu())

    @initialize()
    def start(self) -> None:
        self.book = HoldBook()
        self.loaded = False
        self.wanted = False
        self.alive = contextlib.AsyncExitStack()
        metrics = Metrics()
        host = HostBudget(need_mib=0, reserve_mib=0)
        policy = Policy(NEED, 4, 4, 0.0, None)
        pool = WorkerPool(self.script.launch, self.script.limits)
        standby = StandbyManager(pool, True, None, host)
        self.coordinator = Coordinator(policy, pool, standby, self.script.read, metrics, now=lambda: self.clock)
        segmentation = SegmentationService(self.coordinator, pool, None, ReadHere(ASKED), metrics)
        app = create_app(self.coordinator, segmentation, OpenControl(), metrics, BodyReceiver(MAX_BODY, 5.0), 5.0)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sam3")
        self.run(self.alive.enter_async_context(app.router.lifespan_context(app)))
        self.run(self.alive.enter_async_context(self.client))

    def teardown(self) -> None:
        self.script.preparing.set()
        self.script.inferring.set()
        with contextlib.suppress(AttributeError):  # it was never started
            self.run(self.alive.aclose())
        coordinator_module.RECONCILE_SECONDS = self.kept
        self.ended()

    def ended(self) -> None:
        self.runner.close()

    @property
    def held(self) -> bool:
        return self.book.active(self.clock) is not None

    @property
    def fits(self) -> bool:
        return not self.script.gpu.others

    def is_unloaded(self) -> None:
        """After an unload nothing is left, and requests in flight were answered 503."""
        if self.slow is not None:
            answer = self.run(self.result(self.slow))
            assert answer.status_code == 503
            self.require_in_order(answer)
            self.slow = None
        self.script.preparing.set()
        self.script.inferring.set()
        self.loaded = self.wanted = False

    def permitted(self, change: Any) -> bool:
        try:
            change()
        except FenceError:
            return False
        return True

    def require_in_order(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200 or int(answer.headers["retry-after"]) > 0

    async def request(self) -> httpx.Response:
        return await self.client.post("/api/v1/segment", files={"image": ("a.png", png())}, data={"prompt": "cat"})

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.run(self.client.post(f"/api/v1/{path}", **({} if body is None else {"json": body})))

    def begin(self, call: Coroutine[Any, Any, httpx.Response]) -> "asyncio.Task[httpx.Response]":
        """Start a call, and let it come as far as it can."""

        async def started() -> "asyncio.Task[httpx.Response]":
            task = asyncio.create_task(call)
            for _ in range(3):
                await asyncio.sleep(0.003)
            return task

        return self.run(started())

    @staticmethod
    async def noticed(death: Worker) -> None:
        async with asyncio.timeout(10):
            while death.alive:
                await asyncio.sleep(0.002)

    async def result(self, task: "asyncio.Task[httpx.Response]") -> httpx.Response:
        async with asyncio.timeout(2 * self.script.limits.load):
            return await task

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(call)
