"""The server's side of the encoder: one process that is started with the server, and again when it has ended."""

import asyncio
import logging
import socket
from typing import Self

from sam3_server.errors import InferenceError, TooMuchWorkError, WorkerGoneError
from sam3_server.worker.allowance import ADVICE
from sam3_server.worker.peer import Peer, PeerSlowError
from sam3_server.worker.protocol import Encode, Failed, Query
from sam3_server.worker.spawn import Process, spawn_module

log = logging.getLogger(__name__)

MODULE = "sam3_server.worker.encoder"
PIECE_BYTES = 1 << 18


class EncoderClient:
    """Writes answers, one at a time, for clients in rotation.

    Used as a context, it starts its process, and ends it after.
    """

    def __init__(self, log_level: str) -> None:
        self._log_level = log_level
        self._starting = asyncio.Lock()
        self._peer: Peer | None = None

    async def __aenter__(self) -> Self:
        """Start the process, so that no request has to wait for it."""
        try:
            await self._started()
        except WorkerGoneError as error:
            log.warning("%s; the next request starts it again", error)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the process."""
        if self._peer is not None and self._peer.alive:
            await self._peer.stop(0)

    async def encode(self, query: Query, found: bytes, client: str, seconds: float, timeout: float) -> bytes:
        """Return the answer to a query, in JSON. It is cancelled after `seconds`; the process is ended after `timeout`.

        Both count from the time the encoder is free for it. Cancelling the caller does not end the process.

        Raises:
            TooMuchWorkError: it took more than `seconds`.
            InferenceError: it failed.
            WorkerGoneError: the process ended, or could not be started.

        """
        view = memoryview(found)
        pieces = [view[start : start + PIECE_BYTES] for start in range(0, len(view), PIECE_BYTES)]
        peer = await self._started()
        try:
            reply, answer = await peer.call(Encode(query=query, seconds=seconds), pieces, timeout, client=client)
        except PeerSlowError as error:
            if self._peer is peer:
                self._peer = None  # it ends, and the next request does not wait for that
            raise TooMuchWorkError(f"the answer took more than {timeout:g} s to encode; {ADVICE}") from error
        if isinstance(reply, Failed):
            raise (TooMuchWorkError if reply.reason == "work" else InferenceError)(reply.message)
        return answer

    async def _started(self) -> Peer:
        async with self._starting:
            if self._peer is None or not self._peer.alive:
                try:
                    self._peer = await Peer.start("encoder", self._start, lambda: None)
                except OSError as error:
                    raise WorkerGoneError(f"no process could be started to encode answers: {error}") from error
            return self._peer

    async def _start(self, channel: socket.socket) -> Process:
        return await spawn_module(MODULE, channel, self._log_level)
