"""The server's side of the zygote: have workers forked, replace a zygote that died, or spawn workers without one."""

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Self

from residency import linux
from sam3_server.worker.protocol import Setup
from sam3_server.worker.spawn import ForkedProcess, Process, spawn_module, spawn_worker
from sam3_server.worker.zygote_protocol import FORK_ANSWERS, MESSAGE_SIZE, ForkAnswer, Refused, ZygoteReady

log = logging.getLogger(__name__)

FORK_SECONDS = 10.0
ZYGOTE_MODULE = "sam3_server.worker.zygote"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # else it starts more at its import; PyTorch, which works, has its own


class ZygoteError(Exception):
    """No worker could be forked, for the reason in the message."""


class ZygoteUnfitError(ZygoteError):
    """The zygote must not be forked, and a new one would have the same fault."""


class ZygoteClient:
    """Starts workers by forking a process that has done their imports, which take at most `import_timeout` seconds.

    Used as a context, it starts that process at once, and ends it after; workers keep running.
    """

    def __init__(self, log_level: str, import_timeout: float) -> None:
        self._log_level = log_level
        self._import_timeout = import_timeout
        self._present: asyncio.Task[_ZygoteProcess] | None = None

    async def __aenter__(self) -> Self:
        """Adopt orphans, and start the zygote."""
        linux.adopt_orphans()
        self._ensure_started()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the process."""
        present, self._present = self._present, None
        if present is not None:
            present.cancel()
            await asyncio.wait({present})
            if not present.cancelled() and present.exception() is None:
                await present.result().close()

    async def start_worker(self, setup: Setup, channel: socket.socket) -> Process:
        """Fork a worker, or spawn a new Python process if the zygote cannot fork.

        Raises:
            OSError: no process could be started.

        """
        try:
            running = await asyncio.shield(self._ensure_started())
            return await running.fork(setup, channel)
        except ZygoteError as error:
            log.warning("the worker does its own imports: %s", error)
            return await spawn_worker(setup, channel)

    def _ensure_started(self) -> "asyncio.Task[_ZygoteProcess]":
        """Start a zygote, unless one runs or is being started, or one was unfit."""
        if self._present is None or _unusable(self._present):
            running = _ZygoteProcess.start(self._log_level, self._import_timeout, self._replace)
            self._present = asyncio.create_task(running, name="start zygote")
            self._present.add_done_callback(_log_failure)
        return self._present

    def _replace(self) -> None:
        if self._present is not None:  # else it has been closed since
            self._ensure_started()


class _ZygoteProcess:
    """One zygote process that is ready to be forked."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, on_exit: Callable[[], object]
    ) -> None:
        self._process = process
        self._control = control
        self._on_exit = on_exit
        self._waiting: deque[asyncio.Future[Process]] = deque()
        self._listening = asyncio.create_task(self._listen(), name="listen to zygote")

    @classmethod
    async def start(cls, log_level: str, import_timeout: float, on_exit: Callable[[], object]) -> "_ZygoteProcess":
        """Start a process and wait until it is ready; `on_exit` is called if it exits after that.

        Raises:
            ZygoteError: it did not become ready.

        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = await spawn_module(ZYGOTE_MODULE, theirs, log_level, **ONE_THREAD)
        except OSError as error:
            ours.close()
            raise ZygoteError(f"the zygote could not be started: {error}") from error
        try:
            await _wait_until_ready(ours, import_timeout)
        except BaseException:
            ours.close()
            await _end(process)
            raise
        return cls(process, ours, on_exit)

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return not self._listening.done()

    async def fork(self, setup: Setup, channel: socket.socket) -> Process:
        """Have a worker forked that is to answer on this socket; raises ZygoteError."""
        answer: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._control, [setup.model_dump_json().encode()], [channel.fileno()])
            self._waiting.append(answer)
            async with asyncio.timeout(FORK_SECONDS):
                return await answer
        except TimeoutError as error:
            await self.close()
            raise ZygoteError(f"the zygote did not fork within {FORK_SECONDS:g} s and was ended") from error
        except OSError as error:
            raise ZygoteError(f"the zygote does not accept requests: {error}") from error

    async def close(self) -> None:
        """End the process."""
        self._listening.cancel()
        await asyncio.wait({self._listening})
        await _end(self._process)

    async def _listen(self) -> None:
        try:
            while answer := await asyncio.get_running_loop().sock_recv(self._control, MESSAGE_SIZE):
                self._resolve_next(FORK_ANSWERS.validate_json(answer))
        except ConnectionError:
            log.debug("the zygote closed its socket in the middle of a message")
        finally:
            self._control.close()
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(ZygoteError("the zygote has ended"))
        log.warning("the zygote has ended; starting another one")
        asyncio.get_running_loop().call_soon(self._on_exit)

    def _resolve_next(self, answer: ForkAnswer) -> None:
        waiting = self._waiting.popleft()
        if isinstance(answer, Refused):
            if not waiting.done():
                waiting.set_exception(ZygoteError(f"the zygote could not fork: {answer.message}"))
            return
        process = ForkedProcess(answer.pid)
        if waiting.done():  # its caller was cancelled
            process.kill()
        else:
            waiting.set_result(process)


async def _wait_until_ready(control: socket.socket, import_timeout: float) -> None:
    try:
        async with asyncio.timeout(import_timeout):
            message = await asyncio.get_running_loop().sock_recv(control, MESSAGE_SIZE)
    except TimeoutError as error:
        raise ZygoteError(f"the zygote's imports took more than {import_timeout:g} s") from error
    if not message:
        raise ZygoteError("the zygote ended during its imports")
    ready = ZygoteReady.model_validate_json(message)
    if ready.unfit is not None:
        raise ZygoteUnfitError(f"the zygote must not be forked: {ready.unfit}")
    log.info("zygote ready", extra={"seconds": round(ready.seconds, 3)})


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _unusable(present: asyncio.Task[_ZygoteProcess]) -> bool:
    if not present.done():
        return False
    if present.cancelled():
        return True
    error = present.exception()
    return not present.result().alive if error is None else not isinstance(error, ZygoteUnfitError)


def _log_failure(present: asyncio.Task[_ZygoteProcess]) -> None:
    if not present.cancelled() and (error := present.exception()):
        log.warning("no zygote: %s", error)
