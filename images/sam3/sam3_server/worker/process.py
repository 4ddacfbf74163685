"""The server's side of a worker process: ask it, notice its death, end it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

from pydantic import BaseModel

from sam3_server.errors import (
    InferenceError,
    LoadError,
    NotEnoughMemoryError,
    PromptError,
    ServiceError,
    WorkerGoneError,
    WorkerStuckError,
)
from sam3_server.images import RgbImage
from sam3_server.worker.protocol import (
    HEADER,
    REPLIES,
    Attach,
    Attached,
    Failed,
    Prepare,
    Prepared,
    Query,
    Reply,
    Segment,
    Segmented,
    Setup,
    head,
)
from sam3_server.worker.starting import Process, Start

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
Answer = TypeVar("Answer", Prepared, Attached, Segmented)


class WorkerProcess:
    """A `Worker` that is a process of its own."""

    def __init__(
        self,
        setup: Setup,
        process: Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_exit: Callable[["WorkerProcess"], None],
    ) -> None:
        self.allocated_mib = 0
        self._setup = setup
        self._process = process
        self._reader, self._writer = streams
        self._on_exit = on_exit
        self._turn = asyncio.Lock()
        self._gone = asyncio.Event()
        self.end = "closed its socket"
        self._watching = asyncio.create_task(self._watch(), name="watch worker")

    @classmethod
    async def start(cls, setup: Setup, start: Start, on_exit: Callable[["WorkerProcess"], None]) -> Self:
        """Start a process; `on_exit` is called once when it has ended.

        Raises:
            OSError: the process could not be started.

        """
        ours, theirs = socket.socketpair()
        with theirs:
            streams = await asyncio.open_connection(sock=ours)
            try:
                process = await start(setup, theirs)
            except BaseException:
                streams[1].close()
                raise
        return cls(setup, process, streams, on_exit)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self._gone.is_set()

    async def prepare(self, timeout: float) -> Prepared:
        """Import what inference needs and read the weights into host memory, within `timeout` seconds.

        Raises:
            LoadError: the model's folder cannot be used.
            WorkerGoneError: the process ended, or took too long.

        """
        return await self._call(Prepare(), (), timeout, Prepared, LoadError)

    async def attach(self, timeout: float) -> Attached:
        """Take the GPU memory, move the model there and see that it answers, within `timeout` seconds.

        Raises:
            NotEnoughMemoryError: less was free than the model needs.
            LoadError: there is no usable GPU, or the probe inference failed.
            WorkerGoneError: the process ended, or took too long.

        """
        attached = await self._call(Attach(), (), timeout, Attached, LoadError)
        self._setup.dtype = attached.dtype  # the next worker then reads its weights in the right size at once
        return attached

    async def segment(self, image: RgbImage, query: Query, timeout: float) -> Segmented:
        """Segment one image, within `timeout` seconds from the time the worker is free for it.

        Raises:
            PromptError: a prompt is too long.
            NotEnoughMemoryError: the image needs more memory than the worker may take.
            InferenceError: the model failed.
            WorkerGoneError: the process ended, or took too long.

        """
        request = Segment(width=image.width, height=image.height, query=query)
        return await self._call(request, image.strips, timeout, Segmented, InferenceError)

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace` seconds. Returns when it is gone.

        Raises:
            WorkerStuckError: the process outlived SIGKILL.

        """
        self._signal(self._process.terminate)
        if grace <= 0 or not await self._ended_within(grace):
            self._signal(self._process.kill)
            if not await self._ended_within(KILL_SECONDS):
                raise WorkerStuckError(
                    f"the worker (process {self._process.pid}) is still there {KILL_SECONDS} s after SIGKILL"
                )

    async def _watch(self) -> None:
        code = await self._process.wait()
        self.end = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._gone.set()
        self._writer.close()
        self.allocated_mib = 0
        log.info("worker %s", self.end, extra={"worker": self._process.pid})
        self._on_exit(self)

    async def _call(
        self,
        request: BaseModel,
        pixels: Sequence[bytes],
        timeout: float,
        expected: type[Answer],
        failure: type[ServiceError],
    ) -> Answer:
        async with self._turn:
            if not self.alive:
                raise WorkerGoneError(f"the worker {self.end}")
            try:
                async with asyncio.timeout(timeout):
                    reply = await self._exchange(request, pixels)
            except TimeoutError as error:
                self._kill()
                raise WorkerGoneError(f"the worker did not answer within {timeout:g} s and was ended") from error
            except (asyncio.IncompleteReadError, OSError) as error:
                raise WorkerGoneError(f"the worker {await self._epitaph()}") from error
            except asyncio.CancelledError:
                self._kill()  # its late reply would be taken for the next one's
                raise
        if not isinstance(reply, Prepared):
            self.allocated_mib = reply.allocated_mib
        if isinstance(reply, Failed):
            raise _error(reply, failure)
        assert isinstance(reply, expected)
        return reply

    async def _exchange(self, request: BaseModel, pixels: Sequence[bytes]) -> Reply:
        self._writer.write(head(request, sum(map(len, pixels))))
        for strip in pixels:
            self._writer.write(strip)
            await self._writer.drain()  # the event loop keeps a copy of what the socket did not take
        size, raw_size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        reply = REPLIES.validate_json(await self._reader.readexactly(size))
        if isinstance(reply, Segmented):
            reply.findings = await self._reader.readexactly(raw_size)
        return reply

    async def _epitaph(self) -> str:
        await self._ended_within(1.0)
        return self.end

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), seconds)
        return self._gone.is_set()

    def _kill(self) -> None:
        self._signal(self._process.kill)

    def _signal(self, send: Callable[[], None]) -> None:
        with contextlib.suppress(ProcessLookupError):
            send()


def _error(reply: Failed, failure: type[ServiceError]) -> ServiceError:
    match reply.reason:
        case "prompt":
            return PromptError(reply.message)
        case "memory":
            return NotEnoughMemoryError(reply.message)
        case "error":
            return failure(reply.message)
