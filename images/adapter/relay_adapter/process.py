"""An engine that the adapter runs itself: unloading ends its processes, so all of its GPU memory is free afterwards."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from relay_adapter.calls import EngineCalls, EngineError
from residency.errors import EngineStuckError, LoadError
from residency.gpu_measurement import ReadMemory, free_mib

log = logging.getLogger(__name__)
POLL_SECONDS = 0.05
KILLED_SECONDS = 10.0


class ProcessEngine:
    """The kit's engine, as a command. Its output goes to that of the adapter.

    `load_timeout` is the time until it answers, `grace` that between SIGTERM and SIGKILL, both in seconds.
    """

    residual_mib = 0

    def __init__(
        self,
        command: Sequence[str],
        calls: EngineCalls,
        read_memory: ReadMemory,
        drop_requests: Callable[[], None],
        load_timeout: float,
        grace: float,
    ) -> None:
        self._command = command
        self._calls = calls
        self._read_memory = read_memory
        self._drop_requests = drop_requests
        self._load_timeout = load_timeout
        self._grace = grace
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._on_exit: Callable[[str], None] = lambda _: None
        self.allocated_mib = 0

    @property
    def is_attached(self) -> bool:
        """Whether a process of it may run."""
        return self._process is not None

    def watch(self, on_exit: Callable[[str], None]) -> None:
        """Call a function when the command has ended, asked to or not."""
        self._on_exit = on_exit

    async def has_loaded(self) -> bool:
        """Return False: it loads only when it is started."""
        return False

    async def prepare(self) -> None:
        """End what is left of an aborted load; even an idle process takes GPU memory. Raises EngineStuckError."""
        await self.end_attached(0)

    async def attach(self) -> None:
        """Start the command, and wait until it answers; raises LoadError."""
        before = await free_mib(self._read_memory)
        try:
            self._process = await asyncio.create_subprocess_exec(*self._command, start_new_session=True)
        except OSError as error:
            raise LoadError(f"{self._command[0]} cannot be started: {error.strerror}") from error
        self._watching = asyncio.create_task(self._watch(self._process), name="watch engine")
        try:
            await self._until_ready(self._process)
            await self._calls.load()
        except EngineError as error:
            await self.end_attached(0)
            raise LoadError(str(error)) from error
        except BaseException:
            await self.end_attached(0)
            raise
        after = await free_mib(self._read_memory)
        self.allocated_mib = max(0, before - after) if before is not None and after is not None else 0

    async def end_attached(self, grace: float | None = None) -> None:
        """End all of its processes; `grace` replaces the engine's own, in seconds. Raises EngineStuckError."""
        process = self._process
        if process is None:
            return
        self._drop_requests()
        patience = self._grace if grace is None else grace
        if patience:
            _signal_group(process.pid, signal.SIGTERM)
            await _gone(process, patience)
        _signal_group(process.pid, signal.SIGKILL)
        if not await _gone(process, KILLED_SECONDS):
            raise EngineStuckError(f"a process of the engine outlived SIGKILL: {sorted(_descendants())}")
        self._process, self.allocated_mib = None, 0
        if self._watching is not None:
            await self._watching

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        until = time.monotonic() + self._load_timeout
        while not await self._calls.ready():
            if process.returncode is not None:
                raise LoadError(f"{self._command[0]} {_end(process.returncode)} before it answered")
            if time.monotonic() >= until:
                raise LoadError(f"{self._command[0]} does not answer after {self._load_timeout:g} s")
            await asyncio.sleep(POLL_SECONDS)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if process is not self._process:
            return
        for pid in _descendants():  # they may hold GPU memory
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process, self.allocated_mib = None, 0
        self._on_exit(f"the engine {_end(code)}")


def _end(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with status {code}"


def _signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to the command's process group, and SIGKILL to whatever else descends from this process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
    if number is signal.SIGKILL:
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def _gone(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait until the command and everything that it has started have ended; return False after so many seconds."""
    until = time.monotonic() + seconds
    while process.returncode is None or _descendants():
        if time.monotonic() >= until:
            return False
        _reap_orphans(process.pid)
        await asyncio.sleep(POLL_SECONDS)
    return True


def _reap_orphans(own: int) -> None:
    """Read the ends of adopted processes; that of the command is read by asyncio."""
    for pid in _children(os.getpid()):
        if pid != own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _descendants() -> set[int]:
    """Return the processes that descend from this one, without those that have ended."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        children = _children(waiting.pop()) - found
        waiting += children
        found |= children
    return {pid for pid in found if not _has_ended(pid)}


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= set(map(int, file.read_text().split()))
    return found


def _has_ended(pid: int) -> bool:
    """True for a zombie: it holds no memory, of the GPU or else."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True
