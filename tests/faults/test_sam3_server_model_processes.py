"""The machine of tests/unit/sam3/test_server_model.py with real worker processes of the tiny model.

They are forked from one zygote; what is slow there is stopped here (SIGSTOP). `SAM3_MODEL_EXAMPLES` runs more.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import gpu_memory
from devcluster.programs.sam3 import NEED, tiny_model
from gpu_memory import GpuMemory, Ledger
from residency.errors import NotEnoughMemoryError
from sam3_server.serving.worker_pool import WorkerTimeouts
from sam3_server.worker.encoder_client import EncoderClient
from sam3_server.worker.interface import Worker
from sam3_server.worker.process import WorkerProcess
from sam3_server.worker.protocol import Attached, Setup
from sam3_server.worker.spawn import Process
from sam3_server.worker.zygote_client import ZygoteClient
from tests.unit.sam3.server_model import Stage
from tests.unit.sam3.test_server_model import ServerMachine

EXAMPLES = int(os.environ.get("SAM3_MODEL_EXAMPLES", "1"))
STEPS = 20


class Gpu:
    """The ledger; what others hold is booked on it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._others = 0
        self._booked = contextlib.ExitStack()

    @property
    def others(self) -> int:
        return self._others

    @others.setter
    def others(self, mib: int) -> None:
        if mib != self._others:
            self._booked.close()
            self._others = mib
            if mib:
                self._booked.enter_context(self._ledger.book(mib))

    @property
    def workers(self) -> int:
        return self._ledger.used_mib - self._others


class Stoppable(WorkerProcess):
    """A worker that can be stopped, and killed, from outside."""

    processes: "Processes"
    process: Process

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.process.pid, number)

    def die(self) -> None:
        self.send(signal.SIGKILL)

    async def attach(self, timeout: float) -> Attached:
        try:
            return await super().attach(timeout)
        except NotEnoughMemoryError:
            self.processes.out_of_memory += 1
            raise


@dataclass
class Stop:
    """A set switch lets workers proceed; clearing it stops present or future ones."""

    stage: "Processes"
    those_there: bool
    closed: bool = False

    def set(self) -> None:
        self.closed = False
        for worker in self.stage.launched:
            worker.send(signal.SIGCONT)

    def clear(self) -> None:
        self.closed = True
        if self.those_there:
            for worker in self.stage.launched:
                worker.send(signal.SIGSTOP)


@dataclass
class Processes:
    """A stage with processes."""

    zygote: ZygoteClient
    encoder: EncoderClient
    ledger: Ledger
    setup: Setup
    limits: WorkerTimeouts = field(default_factory=lambda: WorkerTimeouts(load=60.0, request=60.0, grace=5.0))
    launched: list[Stoppable] = field(default_factory=list)
    out_of_memory: int = 0

    def __post_init__(self) -> None:
        self.gpu = Gpu(self.ledger)
        self.preparing = Stop(self, those_there=False)
        self.inferring = Stop(self, those_there=True)

    def read(self) -> GpuMemory:
        ledger = self.ledger
        return GpuMemory("GPU-1", "Tesla T4", 15360, 450, ledger.used_mib, ledger.free_mib)

    async def launch(self, on_exit: Callable[[Worker], None]) -> Worker:
        started: list[Process] = []

        async def start(setup: Setup, channel: socket.socket) -> Process:
            started.append(await self.zygote.start_worker(setup, channel))
            return started[0]

        worker = await Stoppable.start(self.setup, start, self.encoder, on_exit)
        worker.processes, worker.process = self, started[0]
        self.launched.append(worker)
        if self.preparing.closed:
            worker.send(signal.SIGSTOP)
        return worker


@dataclass
class Common:
    """What all examples share: to make it for each would take ten seconds."""

    runner: asyncio.Runner
    zygote: ZygoteClient
    encoder: EncoderClient
    ledger: Ledger
    setup: Setup


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Common]:
    ledger = gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))
    setup = Setup(model=tiny_model(), dtype="auto", memory_mib=NEED, cached_images=0, log_level="error")
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        for name, value in {**ledger.environment, "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        zygote = ZygoteClient("error", import_timeout=120)
        encoder = EncoderClient("error")
        runner.run(zygote.__aenter__())
        runner.run(encoder.__aenter__())
        yield Common(runner, zygote, encoder, ledger, setup)
        runner.run(encoder.__aexit__())
        runner.run(zygote.__aexit__())


def test_the_server_with_processes_behaves_like_the_model(common: Common) -> None:
    class Machine(ServerMachine):
        def begun(self) -> asyncio.Runner:
            return common.runner

        def stage(self) -> Stage:
            return Processes(common.zygote, common.encoder, common.ledger, common.setup)

        def ended(self) -> None:
            self.script.gpu.others = 0
            assert not any(Path(f"/proc/{worker.process.pid}").exists() for worker in self.processes.launched)

        @property
        def processes(self) -> Processes:
            assert isinstance(self.script, Processes)
            return self.script

    Machine.TestCase.settings = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    Machine.TestCase("runTest").runTest()
