"""The server's side of a worker process: its requests, and what the replies mean."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self, TypeVar

from pydantic import BaseModel

from residency.errors import LoadError, NotEnoughMemoryError, ServiceError
from sam3_server.errors import InferenceError, NoTrackerError, PromptError, TooMuchWorkError, UnknownImageError
from sam3_server.worker.encoder_client import EncoderClient
from sam3_server.worker.peer import SERVER, Peer
from sam3_server.worker.protocol import (
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
)
from sam3_server.worker.rgb_image import RgbImage
from sam3_server.worker.spawn import StartWorker

FULL = "float32"
Answer = TypeVar("Answer", Prepared, Attached, Segmented)


class WorkerProcess:
    """A `Worker` in its own process, and an encoder that writes its answers.

    `on_prompts` is called with the number of prompts that each request computed.
    """

    def __init__(self, setup: Setup, encoder: EncoderClient, on_exit: Callable[["WorkerProcess"], None]) -> None:
        self.allocated_mib = self.weights_mib = 0
        self.on_prompts: Callable[[int], object] = lambda _: None
        self._setup = setup
        self._encoder = encoder
        self._on_exit = on_exit
        self._peer: Peer

    @classmethod
    async def start(
        cls, setup: Setup, start: StartWorker, encoder: EncoderClient, on_exit: Callable[["WorkerProcess"], None]
    ) -> Self:
        """Start a process; `on_exit` is called once when it has ended.

        Raises:
            OSError: the process could not be started.

        """
        worker = cls(setup, encoder, on_exit)
        worker._peer = await Peer.start("worker", partial(start, setup), worker._ended)
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._peer.alive

    @property
    def end(self) -> str:
        """How the process ended, once it has."""
        return self._peer.end

    async def prepare(self, timeout: float) -> Prepared:
        """Import what inference needs and read the weights into host memory, within `timeout` seconds.

        Raises:
            LoadError: the model's folder cannot be used.
            WorkerGoneError: the process ended, or took too long.

        """
        return await self._change(Prepare(), timeout, Prepared)

    async def attach(self, timeout: float) -> Attached:
        """Take the GPU memory, move the model there and check that it answers, within `timeout` seconds.

        Raises:
            NotEnoughMemoryError: less was free than the model needs.
            LoadError: there is no usable GPU, or the probe inference failed.
            WorkerGoneError: the process ended, or took too long.

        """
        return await self._change(Attach(), timeout, Attached)

    async def segment(
        self,
        image: RgbImage,
        query: Query,
        client: str,
        seconds: float,
        timeout: float,
        computed: Callable[[], None],
    ) -> Segmented:
        """Segment one image in its client's turn. It is cancelled after `seconds`; the process ends after `timeout`.

        Both count from the time the worker is free for it, and again for the encoder; between the two, `computed` is
        called. Cancelling the caller ends neither process.

        Raises:
            PromptError: a prompt is too long, or not on the image.
            UnknownImageError: the worker has no features of the image that the query names.
            NoTrackerError: the model has no tracker weights, which the query needs.
            TooMuchWorkError: it took more than `seconds`.
            NotEnoughMemoryError: the image needs more memory than the worker may take.
            InferenceError: the model failed.
            WorkerGoneError: the process ended, or took more than `timeout`.

        """
        request = Segment(width=image.width, height=image.height, query=query, seconds=seconds)
        segmented = await self._call(request, image.strips, timeout, Segmented, InferenceError, client)
        computed()
        segmented.findings = await self._encoder.encode(query, segmented.findings, client, seconds, timeout)
        return segmented

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace` seconds. Returns when it is gone.

        Raises:
            EngineStuckError: the process outlived SIGKILL.

        """
        await self._peer.stop(grace)

    async def _change(self, request: BaseModel, timeout: float, expected: type[Answer]) -> Answer:
        try:
            return await self._call(request, (), timeout, expected, LoadError)
        except asyncio.CancelledError:
            self._peer.kill()  # a partial load is useless
            raise

    async def _call(
        self,
        request: BaseModel,
        pieces: Sequence[bytes | memoryview],
        timeout: float,
        expected: type[Answer],
        failure: type[ServiceError],
        client: str = SERVER,
    ) -> Answer:
        reply, payload = await self._peer.call(request, pieces, timeout, self._note, client)
        if isinstance(reply, Failed):
            raise _error(reply, failure)
        assert isinstance(reply, expected)
        if isinstance(reply, Segmented):
            reply.findings = payload
        return reply

    def _note(self, reply: Reply) -> None:
        if isinstance(reply, Prepared):
            self.weights_mib = reply.weights_mib
        if isinstance(reply, Attached | Segmented | Failed):
            self.allocated_mib = reply.allocated_mib
        if isinstance(reply, Attached | Segmented) and reply.dtype == FULL:
            self._setup.dtype = FULL  # where half precision overflowed, the next worker need not try it again
        if isinstance(reply, Segmented | Failed):
            self.on_prompts(reply.prompts)

    def _ended(self) -> None:
        self.allocated_mib = 0
        self._on_exit(self)


def _error(reply: Failed, failure: type[ServiceError]) -> ServiceError:
    match reply.reason:
        case "prompt":
            return PromptError(reply.message)
        case "image":
            return UnknownImageError(reply.message)
        case "unsupported":
            return NoTrackerError(reply.message)
        case "memory":
            return NotEnoughMemoryError(reply.message)
        case "work":
            return TooMuchWorkError(reply.message)
        case "error" | "cancelled":
            return failure(reply.message)
