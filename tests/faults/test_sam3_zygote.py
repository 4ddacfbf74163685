"""Workers forked by a zygote, with real processes that import nothing heavy."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devcluster.programs.sam3 import comm
from sam3_server.worker import zygote, zygote_client
from sam3_server.worker.protocol import Setup
from sam3_server.worker.spawn import Process
from sam3_server.worker.zygote_client import ZygoteClient
from tests.faults import sam3_light_zygote
from tests.faults.sam3_light_zygote import FAULT

SETUP = Setup(model=Path("/nowhere"), dtype="auto", memory_mib=0, cached_images=0, log_level="error")


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote_client, "ZYGOTE_MODULE", sam3_light_zygote.__name__)


@pytest.fixture
async def running() -> AsyncIterator[ZygoteClient]:
    async with ZygoteClient("error", import_timeout=30) as running:
        yield running
    assert children("sam3-template") == []


async def started(running: ZygoteClient) -> tuple[Process, socket.socket]:
    """A worker, and the channel that it lives by."""
    ours, theirs = socket.socketpair()
    with theirs:
        return await running.start_worker(SETUP, theirs), ours


async def ended(worker: Process) -> int:
    worker.kill()
    return await worker.wait()


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def is_forked(process: Process) -> bool:
    return sam3_light_zygote.__name__ in Path(f"/proc/{process.pid}/cmdline").read_text()


def sockets(pid: int) -> int:
    return sum("socket:" in str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir())


def children(name: str) -> list[int]:
    """The children that call themselves so; threads that list them may be gone by then."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if comm(pid) == name]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_forked_worker_ends_with_its_channel(running: ZygoteClient) -> None:
    worker, channel = await started(running)
    assert is_forked(worker)
    assert status(worker.pid, "PPid") == str(os.getpid())
    assert comm(worker.pid) == "sam3-worker"
    assert sockets(worker.pid) == 1, "its own channel and no other"
    channel.close()
    assert await worker.wait() == 0
    with pytest.raises(ProcessLookupError):
        worker.terminate()


async def test_how_a_forked_worker_ended_is_known(running: ZygoteClient) -> None:
    (first, _first), (second, _second) = await started(running), await started(running)
    first.terminate()
    assert (await first.wait(), await ended(second)) == (-15, -9)


async def test_a_worker_outlives_its_zygote_which_is_replaced(running: ZygoteClient) -> None:
    worker, channel = await started(running)
    (old,) = children("sam3-template")
    os.kill(old, signal.SIGKILL)
    await until(lambda: children("sam3-template") not in ([], [old]))
    assert status(worker.pid, "State") != "Z"
    other, _channel = await started(running)
    assert is_forked(other)
    channel.close()
    assert (await worker.wait(), await ended(other)) == (0, -9)


async def test_a_zygote_that_hangs_is_ended_and_the_worker_spawned(
    running: ZygoteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _first = await started(running)
    (hung,) = children("sam3-template")
    monkeypatch.setattr(zygote_client, "FORK_SECONDS", 0.1)
    os.kill(hung, signal.SIGSTOP)
    second, _second = await started(running)
    assert not is_forked(second)
    assert children("sam3-template") == []
    monkeypatch.setattr(zygote_client, "FORK_SECONDS", 10)
    third, _third = await started(running)
    assert is_forked(third)
    assert [await ended(each) for each in (first, second, third)] == [-9, -9, -9]


async def test_a_worker_whose_caller_was_cancelled_is_ended(running: ZygoteClient) -> None:
    first, _first = await started(running)
    (pid,) = children("sam3-template")
    os.kill(pid, signal.SIGSTOP)  # the answer is to come only after the cancellation
    abandoned = asyncio.create_task(started(running))
    await asyncio.sleep(0.05)
    abandoned.cancel()
    os.kill(pid, signal.SIGCONT)
    second, _second = await started(running)
    assert is_forked(second)
    await until(lambda: set(children("sam3-worker")) == {first.pid, second.pid})
    assert [await ended(each) for each in (first, second)] == [-9, -9]


@pytest.mark.parametrize("fault", ["threads", "import error", "slow imports"])
async def test_without_a_zygote_a_worker_is_spawned(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT, fault)
    async with ZygoteClient("error", import_timeout=2) as unusable:
        worker, channel = await started(unusable)
        assert not is_forked(worker)
        assert status(worker.pid, "PPid") == str(os.getpid())
        assert children("sam3-template") == []
        channel.close()
        assert await worker.wait() == 0


async def test_an_unfit_zygote_reports_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "self"
    (folder / "task" / "1").mkdir(parents=True)
    (folder / "task" / "1" / "comm").write_text("python\n")
    (folder / "fd").mkdir()
    (folder / "fd" / "0").symlink_to("/dev/null")
    monkeypatch.setattr(zygote, "PROC_SELF", folder)
    assert zygote.unfit_reason() is None
    (folder / "fd" / "7").symlink_to("/dev/nvidiactl")
    assert zygote.unfit_reason() == "it has opened /dev/nvidiactl"
    (folder / "task" / "2").mkdir()
    (folder / "task" / "2" / "comm").write_text("pool\n")
    assert zygote.unfit_reason() == "it has 2 threads (pool, python)"
