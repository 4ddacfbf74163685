"""The SAM3 server beside a CUDA driver without a device, which notes who calls it: a load alone may touch the GPU.

One server lives through the tests in their order, held all the while.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster.programs.sam3 import LOAD_SECONDS, TOKEN, Server, tiny_model
from devcluster.waiting import eventually

SOURCE = Path(__file__).with_name("sam3_driver.c")
LOG = "SAM3_TEST_DRIVER_LOG"


@dataclass(frozen=True)
class Driver:
    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "libcuda.so.1"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def seen(self, what: str) -> dict[int, set[str]]:
        """Which processes did this, and which GPUs they were to see."""
        seen: dict[int, set[str]] = {}
        for pid, call, visible in (line.split() for line in self.log.read_text().splitlines()):
            if call == what:
                seen.setdefault(int(pid), set()).add(visible)
        return seen


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    driver = Driver(tmp_path_factory.mktemp("driver"))
    subprocess.run(["cc", "-Wall", "-shared", "-fPIC", "-o", str(driver.library), str(SOURCE)], check=True)
    return driver


@pytest.fixture(scope="module")
def server(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(TOKEN)
    settings = {LOG: str(driver.log), "LD_LIBRARY_PATH": str(driver.folder), "SAM3_WHILE_HELD": "cpu"}
    limits = {"SAM3_SHUTDOWN_TIMEOUT": "120", "SAM3_REQUEST_TIMEOUT": "0.001"}  # the CPU has a limit of its own
    server = Server(None, tiny_model(), token_file, settings | limits)
    server.unload(fence=1, ttl_seconds=600)
    yield server
    server.end()


def test_the_driver_notes_its_callers(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG, str(driver.log))
    assert ctypes.CDLL(str(driver.library)).cuInit(0) != 0
    assert os.getpid() in driver.seen("called")
    driver.log.unlink()


def test_neither_zygote_nor_standby_uses_the_driver(server: Server, driver: Driver) -> None:
    eventually(server.standby_ready, "a standby", within=LOAD_SECONDS)
    (zygote,) = server.zygotes()
    standby = server.workers()[0]
    assert driver.seen("loaded").keys() == {zygote}, "the libraries find it, but"
    assert not {zygote, standby, server.process.pid} & driver.seen("called").keys()


def test_the_cpu_answers_while_held(server: Server, driver: Driver) -> None:
    eventually(lambda: len(server.workers()) == 2, "a worker on the CPU", every=0.02)
    workers = server.workers()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.segment)  # it waits for the worker's weights
        eventually(lambda: server.metric("sam3_requests_in_flight") == 2, "the request is in flight", every=0.02)
        server.process.terminate()
        assert answer.result().status_code == 200
    assert answer.result().headers["sam3-degraded"] == "cpu"
    assert server.process.wait(timeout=30) == 0
    visible = [driver.seen("called").get(pid) for pid in workers]
    assert visible in ([None, None], [None, {"none"}], [{"none"}, None])
