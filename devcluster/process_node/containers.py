"""One run of a container's program: a process below a shim, its output in a file."""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from devcluster.process_node import shim

SHIM = Path(shim.__file__)


class Process:
    """A program that runs below its shim (shim.py), in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked = False
        self._deadline: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], folder: Path, log: Path, node: int) -> Self:
        """Start a program in `folder`, with `log` for both of its outputs; `node` is the process it must not outlive.

        What is wrong with the program itself shows in its exit code (shim.NOT_STARTED) and its log.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                # isolated, without site: the program's environment must not change how its shim starts
                *(sys.executable, "-I", "-S", str(SHIM), str(node), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=folder,
                start_new_session=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """The shim's process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the program and all it started to end; returns the exit code, 128 + n for signal n."""
        code = await self._process.wait()
        if self._deadline:
            self._deadline.cancel()
        return code if code >= 0 else 128 - code

    def stop(self, grace: float) -> None:
        """Ask it to end, and make it end after `grace` seconds. Repeating it with less grace shortens the time."""
        if not self._asked:
            self._asked = True
            self._send(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        when = loop.time() + grace
        if self._deadline is None or when < self._deadline.when():
            if self._deadline:
                self._deadline.cancel()
            self._deadline = loop.call_at(when, self._send, signal.SIGUSR1)

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return  # it ended before its exit code was fetched


def last_word(file: Path, log: Path, *, from_log: bool) -> str:
    """Return the termination message: the file's, else (where asked for) the end of the log. At most 4,096 bytes."""
    try:
        message = file.read_bytes()[:4096].decode(errors="replace")
    except OSError:
        message = ""
    if message or not from_log:
        return message
    lines = log.read_bytes()[-2048:].decode(errors="replace").splitlines()
    return "\n".join(lines[-80:])
