"""The intake processes of a server: two, replaced as they exit, and shared fairly between clients."""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar

from residency.errors import BodyError, FieldError, ServiceError
from residency.fair_queue import FairQueue
from sam3_server import memory_files
from sam3_server.intake.body import Body
from sam3_server.intake.interface import ParsedRequest
from sam3_server.intake.process import IntakeProcess
from sam3_server.intake.protocol import (
    Done,
    ImageBatch,
    ParsedQuery,
    Read,
    ReadImage,
    Refusal,
    Reply,
    Request,
    Respond,
    Route,
    Setup,
    Terms,
)
from sam3_server.worker.rgb_image import STRIP_BYTES, RgbImage

log = logging.getLogger(__name__)

PROCESSES = 2
PER_CLIENT = 1  # a client whose requests are slow to read leaves a process to others
Result = TypeVar("Result")


class IntakePool:
    """Reads requests in its own processes. Used as a context, it starts them, and ends them after."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._turns = FairQueue(PROCESSES, PER_CLIENT)
        self._idle: list[asyncio.Task[IntakeProcess]] = []
        self._asking: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        """Start the processes without waiting for them."""
        self._idle = [self._start_process() for _ in range(PROCESSES)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End them."""
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for started in await asyncio.gather(*self._idle, return_exceptions=True):
            if isinstance(started, IntakeProcess):
                started.end()
                await started.gone()

    async def read(self, route: Route, body: Body, client: str) -> ParsedRequest | ImageBatch:
        """Parse, validate and decode one request. Several images of one are not decoded; the body then has them.

        Raises:
            ServiceError: its subclasses say what is wrong with the request, or why it could not be read.

        """
        request = Read(route=route, content_type=body.content_type)
        return await self._call(request, os.dup(body.descriptor), client, partial(_parsed, body))

    async def read_image(self, body: Body, batch: ImageBatch, place: int, client: str) -> ParsedRequest:
        """Decode one of several images of a request, by its place from 0.

        Raises:
            ServiceError: its subclasses say what is wrong with the image, or why it could not be read.

        """
        request = ReadImage(size=batch.size, place=place)
        return await self._call(request, os.dup(body.descriptor), client, _parsed_request)

    async def respond(self, terms: Terms, findings: bytes, client: str) -> bytes:
        """Return the answer of another server's route, in JSON.

        Raises:
            ServiceError: its subclasses say why it could not be written.

        """
        head = terms.model_dump_json().encode()
        content = memory_files.create("sam3-findings", (head, findings))
        return await self._call(Respond(size=len(head)), content, client, _response)

    async def _call(
        self, request: Request, content: int, client: str, result: Callable[[Reply, int], Result]
    ) -> Result:
        """Send the request to the next free process, and close `content`.

        If the caller is cancelled, the process finishes the request: replacing it would take longer.
        """
        try:
            await self._turns.acquire(client)
        except BaseException:
            os.close(content)
            raise
        asking = asyncio.create_task(self._call_in_turn(request, content, client, result), name="read request")
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        return await asyncio.shield(asking)

    async def _call_in_turn(
        self, request: Request, content: int, client: str, result: Callable[[Reply, int], Result]
    ) -> Result:
        slot = self._idle.pop()
        try:
            process = await self._started(slot)
            try:
                reply, answer = await process.call(request, content)
            except BaseException:
                process.end()
                raise
        except BaseException:
            slot = self._start_process()
            raise
        finally:
            os.close(content)
            self._idle.append(slot)
            self._turns.release(client)
        return result(reply, answer)

    async def _started(self, slot: asyncio.Task[IntakeProcess]) -> IntakeProcess:
        try:
            return await slot
        except OSError as error:
            raise ServiceError(f"no process could be started to read the request: {error}") from error

    def _answered(self, asking: asyncio.Task[Any]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # the caller may be gone; asyncio logs an exception that is not retrieved

    def _start_process(self) -> asyncio.Task[IntakeProcess]:
        return asyncio.create_task(IntakeProcess.start(self._setup), name="start intake process")


def _parsed(body: Body, reply: Reply, answer: int) -> ParsedRequest | ImageBatch:
    """Return what a request asks for. Put the file with several images in place of the body."""
    if isinstance(reply, ImageBatch):
        body.exchange(answer)
        return reply
    return _parsed_request(reply, answer)


def _parsed_request(reply: Reply, answer: int) -> ParsedRequest:
    content = memory_files.take(answer)
    size = _require_done(reply).size
    head = ParsedQuery.model_validate_json(content[:size])
    pixels = memoryview(content)[size:]
    strips = tuple(pixels[start : start + STRIP_BYTES] for start in range(0, len(pixels), STRIP_BYTES))
    return ParsedRequest(RgbImage(head.width, head.height, strips), head.query, head.terms)


def _response(reply: Reply, answer: int) -> bytes:
    content = memory_files.take(answer)
    return content[: _require_done(reply).size]


def _require_done(reply: Reply) -> Done:
    if isinstance(reply, Refusal):
        field_errors = [FieldError(where, message) for where, message in reply.field_errors]
        raise BodyError(reply.status, reply.message, field_errors)
    assert isinstance(reply, Done)
    return reply
