"""The server's side of a child process that answers framed requests one at a time: call it, cancel, notice its exit."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from pydantic import BaseModel

from residency.errors import EngineStuckError
from residency.fair_queue import FairQueue
from sam3_server.errors import WorkerGoneError
from sam3_server.worker.protocol import HEADER, REPLIES, Cancel, Reply, head
from sam3_server.worker.spawn import Process

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
SERVER = ""
"""The client of calls that are the server's own."""


class PeerSlowError(WorkerGoneError):
    """The process did not answer in time, and was ended."""


@dataclass
class _Exchange:
    """One request on its way: whether all of it was sent, and whether its client has disconnected."""

    sent: bool = False
    abandoned: bool = False


class Peer:
    """One child process. Times in seconds; `end` describes how the process ended, once it has."""

    def __init__(
        self,
        name: str,
        process: Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_exit: Callable[[], None],
    ) -> None:
        self.end = "closed its socket"
        self._name = name
        self._process = process
        self._reader, self._writer = streams
        self._on_exit = on_exit
        self._turn = FairQueue(1, 1)
        self._gone = asyncio.Event()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {name}")

    @classmethod
    async def start(
        cls, name: str, start: Callable[[socket.socket], Awaitable[Process]], on_exit: Callable[[], None]
    ) -> Self:
        """Start a process on a socket; `name` is what errors call it, and `on_exit` is called once it has ended.

        Raises:
            OSError: the process could not be started.

        """
        ours, theirs = socket.socketpair()
        with theirs:
            streams = await asyncio.open_connection(sock=ours)
            try:
                process = await start(theirs)
            except BaseException:
                streams[1].close()
                raise
        return cls(name, process, streams, on_exit)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self._gone.is_set()

    async def call(
        self,
        request: BaseModel,
        pieces: Sequence[bytes | memoryview],
        timeout: float,
        on_reply: Callable[[Reply], None] = lambda _: None,
        client: str = SERVER,
    ) -> tuple[Reply, bytes]:
        """Return the reply to a request and its raw bytes, within `timeout` seconds from the process's turn for it.

        Clients have turns in rotation, and the calls of one client in their order.

        A caller that is cancelled before its turn sends nothing. Later the process gets a `Cancel`, and the turn ends
        with its reply, which only `on_reply` receives.

        Raises:
            WorkerGoneError: the process ended.
            PeerSlowError: it took too long.

        """
        await self._turn.acquire(client)
        state = _Exchange()
        exchange = asyncio.create_task(self._exchange(state, request, pieces, timeout, on_reply))
        exchange.add_done_callback(partial(self._end_turn, client))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            state.abandoned = True
            if state.sent and not exchange.done():
                self._writer.write(head(Cancel()))
            raise

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace` seconds. Returns when it is gone.

        Raises:
            EngineStuckError: the process outlived SIGKILL.

        """
        self._signal(self._process.terminate)
        if grace <= 0 or not await self._ended_within(grace):
            self.kill()
            if not await self._ended_within(KILL_SECONDS):
                raise EngineStuckError(
                    f"the {self._name} (process {self._process.pid}) is still there {KILL_SECONDS} s after SIGKILL"
                )

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(self._process.kill)

    async def _exchange(
        self,
        state: _Exchange,
        request: BaseModel,
        pieces: Sequence[bytes | memoryview],
        timeout: float,
        on_reply: Callable[[Reply], None],
    ) -> tuple[Reply, bytes]:
        if not self.alive:
            raise WorkerGoneError(f"the {self._name} {self.end}")
        try:
            async with asyncio.timeout(timeout):
                await self._send(request, pieces)
                state.sent = True
                if state.abandoned:
                    self._writer.write(head(Cancel()))
                reply, payload = await self._receive()
        except TimeoutError as error:
            self.kill()
            message = f"the {self._name} did not answer within {timeout:g} s and was ended"
            raise PeerSlowError(message) from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise WorkerGoneError(f"the {self._name} {await self._exit_description()}") from error
        on_reply(reply)
        return reply, payload

    async def _send(self, request: BaseModel, pieces: Sequence[bytes | memoryview]) -> None:
        self._writer.write(head(request, sum(map(len, pieces))))
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()  # the event loop keeps a copy of what the socket did not take

    async def _receive(self) -> tuple[Reply, bytes]:
        size, payload_size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        reply = REPLIES.validate_json(await self._reader.readexactly(size))
        return reply, await self._reader.readexactly(payload_size)

    def _end_turn(self, client: str, exchange: asyncio.Task[tuple[Reply, bytes]]) -> None:
        self._turn.release(client)
        if not exchange.cancelled():
            exchange.exception()  # of an abandoned request; else asyncio logs that it was never retrieved

    async def _watch(self) -> None:
        code = await self._process.wait()
        self.end = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._gone.set()
        self._writer.close()
        log.info("%s %s", self._name, self.end, extra={"child": self._process.pid})
        self._on_exit()

    async def _exit_description(self) -> str:
        await self._ended_within(1.0)
        return self.end

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        return self._gone.is_set()

    def _signal(self, send: Callable[[], None]) -> None:
        with contextlib.suppress(ProcessLookupError):
            send()
