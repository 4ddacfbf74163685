"""The whole server against a model of it: orders late and early, loads slow and failing, deaths, restarts, time.

The server is the real one, spoken to over its routes; its clock, its GPU and its worker processes are the test's (with
real ones: tests/faults/test_sam3_server_model_processes.py). The model is the pure hold book, which has a machine of
its own in test_sam3_hold.py, and what memory and time permit.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sam3_server.api.app import create_app
from sam3_server.api.auth import OpenControl
from sam3_server.api.body_receiver import BodyReceiver
from sam3_server.residency import coordinator as coordinator_module
from sam3_server.residency.coordinator import Coordinator
from sam3_server.residency.gpu_measurement import ReadMemory
from sam3_server.residency.hold import Claim, FenceError, HoldBook, RenewKeyError, Terms
from sam3_server.residency.host_memory import HostBudget
from sam3_server.residency.metrics import Metrics
from sam3_server.residency.policy import Policy
from sam3_server.residency.segmentation import SegmentationService
from sam3_server.residency.worker_pool import WorkerTimeouts
from sam3_server.worker.interface import Launch, Worker
from tests.unit.sam3.conftest import ASKED, MAX_BODY, png
from tests.unit.sam3.sam3_scripted import NEED, ReadHere, Script, ScriptedGpu

Answer = TypeVar("Answer")

HOLDERS = st.sampled_from(["job/a", "job/b"])
FENCES = st.integers(1, 4)
TRAINING_MIB = 10_000
LONGEST_RETRY = 31.0


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


class ServerMachine(RuleBasedStateMachine):
    """Each rule is one event that the server meets; the model predicts the result."""

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
        policy = Policy(NEED, True, host, 4, 4, 0.0, None, self.script.limits)
        self.coordinator = Coordinator(policy, self.script.launch, self.script.read, metrics, now=lambda: self.clock)
        segmentation = SegmentationService(self.coordinator, ReadHere(ASKED), metrics)
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

    @rule(holder=HOLDERS, fence=FENCES, ttl=st.sampled_from([5.0, 60.0]))
    def unload(self, holder: str, fence: int, ttl: float) -> None:
        terms = Terms(holder, fence, ttl, f"key-{holder}")
        body = {"holder": holder, "fence": fence, "ttl_seconds": ttl, "renew_key": terms.renew_key}
        answer = self.post("unload", body | {"drain_timeout_seconds": 0})
        if self.permitted(lambda: self.book.place(terms, self.clock)):
            assert answer.status_code == 200
            self.is_unloaded()
        else:
            assert answer.status_code == 409

    @precondition(lambda self: self.slow is None)  # it would drain for 20 real seconds
    @rule()
    def unload_without_a_hold(self) -> None:
        assert self.post("unload", None).status_code == 200
        self.is_unloaded()

    @rule(holder=HOLDERS, fence=FENCES)
    def renew(self, holder: str, fence: int) -> None:
        answer = self.post("hold/renew", {"fence": fence, "renew_key": f"key-{holder}"})
        try:
            self.book.renew(fence, f"key-{holder}", self.clock)
            expected = 200
        except FenceError:
            expected = 409
        except RenewKeyError:
            expected = 403
        assert answer.status_code == expected

    @precondition(lambda self: self.slow is None)
    @rule(claim=st.none() | st.builds(Claim, HOLDERS, FENCES))
    def load(self, claim: Claim | None) -> None:
        answer = self.post("load", vars(claim) if claim else None)
        if not self.permitted(lambda: self.book.end(claim, self.clock)):
            assert answer.status_code == 409
            return
        self.loaded, self.wanted = self.loaded or self.fits, not (self.loaded or self.fits)
        assert answer.status_code == (200 if self.loaded else 503)

    @precondition(lambda self: self.slow is None)
    @rule()
    def segment(self) -> None:
        answer = self.run(self.request())
        self.loaded = self.loaded or (not self.held and self.fits)
        self.wanted = self.wanted and not self.loaded
        assert answer.status_code == (200 if self.loaded and not self.held else 503)
        self.require_in_order(answer)

    @precondition(lambda self: self.slow is None and not self.held and not self.loaded and self.fits)
    @rule()
    def begin_a_slow_load(self) -> None:
        self.script.preparing.clear()
        self.slow = self.begin(self.request())
        self.script.inferring.set()

    @precondition(lambda self: self.slow is None and self.loaded)
    @rule()
    def begin_a_slow_answer(self) -> None:
        self.script.inferring.clear()
        self.slow = self.begin(self.request())

    @precondition(lambda self: self.slow is not None)
    @rule()
    def the_slow_one_proceeds(self) -> None:
        assert self.slow is not None
        self.script.preparing.set()
        self.script.inferring.set()
        answer = self.run(self.result(self.slow))
        self.slow = None
        self.loaded = answer.status_code == 200
        assert self.loaded is self.fits
        self.wanted = self.wanted and not self.loaded
        self.require_in_order(answer)

    @precondition(lambda self: self.slow is not None and self.loaded and self.coordinator.loaded)
    @rule(holder=HOLDERS, fence=FENCES)
    def load_while_draining(self, holder: str, fence: int) -> None:
        claim, terms = Claim(holder, fence), Terms(holder, fence, 60.0, "key")
        if not self.permitted(lambda: self.book.place(terms, self.clock)):
            return
        body = {"holder": holder, "fence": fence, "ttl_seconds": 60, "renew_key": "key", "drain_timeout_seconds": 60}
        draining = self.begin(self.client.post("/api/v1/unload", json=body))
        loading = self.begin(self.client.post("/api/v1/load", json=vars(claim)))
        assert not draining.done()
        self.book.end(claim, self.clock)
        self.script.inferring.set()
        assert self.slow is not None
        assert [self.run(self.result(each)).status_code for each in (self.slow, draining, loading)] == [200] * 3
        self.slow, self.loaded, self.wanted = None, True, False

    @precondition(lambda self: self.slow is None)
    @rule(seconds=st.sampled_from([1.0, 5.0, LONGEST_RETRY]))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        self.wanted = self.wanted or self.book.expire(self.clock) is not None
        self.run(self.coordinator.reconcile())
        if not self.held and self.wanted and not self.loaded and self.fits and seconds == LONGEST_RETRY:
            self.loaded = True
        assert self.coordinator.loaded >= self.loaded
        self.loaded = self.coordinator.loaded
        self.wanted = self.wanted and not self.loaded

    @precondition(lambda self: not self.loaded and self.slow is None)
    @rule()
    def training_takes_the_memory(self) -> None:
        self.script.gpu.others = TRAINING_MIB

    @rule()
    def training_gives_it_back(self) -> None:
        self.script.gpu.others = 0

    @rule(index=st.integers(0, 3))
    @precondition(lambda self: self.slow is None)
    def a_worker_dies(self, index: int) -> None:
        alive = [worker for worker in self.script.launched if worker.alive]
        if index < len(alive):
            self.loaded = self.loaded and not alive[index].allocated_mib
            alive[index].die()
            self.run(self.noticed(alive[index]))

    @precondition(lambda self: self.slow is None)
    @rule()
    def the_server_restarts(self) -> None:
        self.run(self.alive.aclose())
        assert self.script.gpu.workers == 0
        assert not any(worker.alive for worker in self.script.launched)
        self.start()

    @invariant()
    def the_server_reports_the_state_of_the_model(self) -> None:
        health = self.run(self.client.get("/health")).json()
        hold = self.book.active(self.clock)
        assert (health["hold"] or {}).get("fence") == (hold.terms.fence if hold else None)
        assert health["model_loaded"] is self.loaded
        assert (self.script.gpu.workers > 0) is self.loaded, "only a loaded model holds memory"

    @invariant()
    def no_model_is_loaded_under_a_hold(self) -> None:
        assert not (self.held and self.coordinator.loaded)

    @invariant()
    def no_worker_is_sent_where_there_is_no_memory(self) -> None:
        assert not self.script.out_of_memory

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


ServerMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestServerMachine = ServerMachine.TestCase
