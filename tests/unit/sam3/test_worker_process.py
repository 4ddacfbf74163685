"""What the server learns from a worker's replies for the worker after it."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from pydantic import BaseModel

from sam3_server.worker.encoder_client import EncoderClient
from sam3_server.worker.process import WorkerProcess
from sam3_server.worker.protocol import HEADER, Attached, Prepared, Setup, head

SECONDS = 5.0


class Peer:
    """A worker's end of the socket, and its process, as the server sees them."""

    pid = os.getpid()

    def __init__(self) -> None:
        self.replies: list[BaseModel] = []
        self._ended = asyncio.Event()

    async def start(self, setup: Setup, channel: socket.socket) -> "Peer":
        reader, writer = await asyncio.open_connection(sock=channel.dup())
        self._serving = asyncio.create_task(self._serve(reader, writer))
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in self.replies:
            size, _ = HEADER.unpack(await reader.readexactly(HEADER.size))
            await reader.readexactly(size)
            writer.write(head(reply))
        await self._ended.wait()
        writer.close()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def terminate(self) -> None:
        self._ended.set()

    kill = terminate


@pytest.mark.parametrize(("found", "next_dtype"), [("float16", "auto"), ("float32", "float32")])
async def test_the_next_worker_knows_that_half_precision_overflows(found: str, next_dtype: str) -> None:
    peer = Peer()
    setup = Setup(model=Path("/model"), dtype="auto", memory_mib=14000, cached_images=0, log_level="error")
    peer.replies = [
        Prepared(seconds=0.1, weights_mib=1764),
        Attached(seconds=0.1, device="cuda", dtype=found, allocated_mib=2000),
    ]
    worker = await WorkerProcess.start(setup, peer.start, EncoderClient("error"), lambda _: None)
    await worker.prepare(SECONDS)
    assert (worker.weights_mib, setup.dtype) == (1764, "auto")
    await worker.attach(SECONDS)
    assert (worker.allocated_mib, setup.dtype) == (2000, next_dtype)
    await worker.stop(SECONDS)
