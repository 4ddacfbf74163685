"""The server's side of one intake process: call it, notice its exit, end it."""

import asyncio
import contextlib
import signal
import socket

from residency.errors import BodyError, ServiceError
from sam3_server.intake.protocol import MESSAGE_SIZE, REPLIES, Reply, Request, Setup
from sam3_server.worker.spawn import spawn_module

MODULE = "sam3_server.intake"
WALL_TIME_FACTOR = 6  # times the CPU time of a request, for a machine that has other work
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


class ProcessGoneError(ServiceError):
    """The process exited, or was ended, for a reason other than the request."""


class IntakeProcess:
    """One process that reads one request at a time."""

    def __init__(self, setup: Setup, process: asyncio.subprocess.Process, channel: socket.socket) -> None:
        self._setup = setup
        self._process = process
        self._channel = channel

    @classmethod
    async def start(cls, setup: Setup) -> "IntakeProcess":
        """Start a process; it may be called at once.

        Raises:
            OSError: it could not be started.

        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = await spawn_module(MODULE, theirs, setup.model_dump_json(), **ONE_ARENA)
        except BaseException:
            ours.close()
            raise
        return cls(setup, process, ours)

    async def call(self, request: Request, content: int) -> tuple[Reply, int]:
        """Return the reply, and the descriptor of a file that the caller is to close. `content` stays open.

        After an error the process cannot be called again.

        Raises:
            BodyError: the process ended on this request: it takes too much CPU time, or crashes a decoder.
            ProcessGoneError: the process ended for another reason.

        """
        try:
            socket.send_fds(self._channel, [request.model_dump_json().encode()], [content])
            async with asyncio.timeout(self._setup.cpu_seconds * WALL_TIME_FACTOR):
                message, descriptors = await self._receive()
        except TimeoutError as error:
            raise ProcessGoneError("the request took too long to read: the machine is overloaded; try again") from error
        except OSError:
            message, descriptors = b"", []
        if not message:
            raise self._exit_error(await self._process.wait())
        return REPLIES.validate_json(message), descriptors[0]

    def end(self) -> None:
        """Kill the process, without waiting until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._channel.close()

    async def gone(self) -> None:
        """Wait until the process is gone."""
        await self._process.wait()

    async def _receive(self) -> tuple[bytes, list[int]]:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._channel, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(self._channel)
        message, descriptors, _, _ = socket.recv_fds(self._channel, MESSAGE_SIZE, 1)
        return message, descriptors

    def _exit_error(self, code: int) -> ServiceError:
        if code == -signal.SIGXCPU:
            return BodyError(
                422,
                f"the image takes more than {self._setup.cpu_seconds} s to decode; open it and save it again as a JPEG "
                "or PNG, or scale it down",
            )
        if code in (-signal.SIGKILL, -signal.SIGTERM) or code >= 0:
            return ProcessGoneError("the process that read the request was killed, or could not start; try again")
        return BodyError(422, f"a decoder crashed on this image (signal {-code}); open it and save it again")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
