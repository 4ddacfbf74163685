"""Start child processes of the server: what any of them is, and a worker in a new Python process."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

from sam3_server.worker.protocol import Setup

DEFAULTS = {"OMP_WAIT_POLICY": "passive"}  # else PyTorch's threads spin on cores that others need
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Process(Protocol):
    """A child process, as asyncio's are."""

    pid: int

    async def wait(self) -> int:
        """Return its exit code once it has ended; the signal's number, negative, if one ended it."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM; raises ProcessLookupError when it has ended."""
        ...

    def kill(self) -> None:
        """Send SIGKILL; raises ProcessLookupError when it has ended."""
        ...


StartWorker = Callable[[Setup, socket.socket], Awaitable[Process]]
"""Start a worker that is to answer on this socket. Raises OSError."""


async def spawn_module(
    module: str, channel: socket.socket, *arguments: str, **environment: str
) -> asyncio.subprocess.Process:
    """Start one of our Python modules with a socket, this process's id and further arguments; raises OSError."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(channel.fileno()), str(os.getpid()), *arguments),
        pass_fds=(channel.fileno(),),
        stdin=asyncio.subprocess.DEVNULL,
        env=DEFAULTS | os.environ | ENVIRONMENT | environment,
        start_new_session=True,  # Ctrl-C is for the server, which ends its processes in order
    )


async def spawn_worker(setup: Setup, channel: socket.socket) -> Process:
    """Start a worker that does its own imports; raises OSError."""
    return await spawn_module("sam3_server.worker", channel, setup.model_dump_json())


class ForkedProcess:
    """A child of this process that the zygote has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, name=f"wait for process {pid}", daemon=True).start()

    async def wait(self) -> int:
        """Return its exit code once it has ended; the signal's number, negative, if one ended it."""
        await self._gone.wait()
        assert self._code is not None
        return self._code

    def terminate(self) -> None:
        """Send SIGTERM; raises ProcessLookupError when it has ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; raises ProcessLookupError when it has ended."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._code is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def _watch(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        """Release the process id; no signal is sent to it after this."""
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        self._gone.set()
