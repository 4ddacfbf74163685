"""The worker process: answers its server's requests until either of them ends."""

import argparse
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from sam3_server import logs
from sam3_server.worker.protocol import (
    HEADER,
    REQUESTS,
    Attach,
    Failed,
    Prepare,
    Prepared,
    Reply,
    Request,
    Segment,
    WorkerError,
    head,
)

if TYPE_CHECKING:
    from sam3_server.worker.model import Sam3

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


class Options(BaseModel):
    """What the server starts a worker with."""

    socket: int
    server: int
    model: Path
    dtype: str
    memory_mib: int
    cached_images: int
    log_level: str


class Session:
    """One worker's life: prepare, attach, then segment."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sam3: Sam3 | None = None

    def answer(self, request: Request, pixels: bytearray) -> Reply:
        """Serve one request. Whatever goes wrong becomes a `Failed`, unless the CUDA context itself is broken."""
        try:
            return self._serve(request, pixels)
        except WorkerError as error:
            self._recover()
            return Failed(reason=error.reason, message=str(error), allocated_mib=self._allocated())
        except Exception as error:
            log.exception("%s failed", request.kind)
            self._recover()
            return Failed(reason="error", message=f"{type(error).__name__}: {error}", allocated_mib=self._allocated())

    def _serve(self, request: Request, pixels: bytearray) -> Reply:
        match request:
            case Prepare():
                return self._prepare()
            case Attach():
                return self._model().attach()
            case Segment():
                return self._model().segment(request, pixels)

    def _prepare(self) -> Prepared:
        began = time.monotonic()
        from sam3_server.worker.model import Sam3

        options = self._options
        self._sam3 = Sam3(options.model, options.dtype, options.memory_mib, options.cached_images)
        return Prepared(seconds=time.monotonic() - began)

    def _model(self) -> "Sam3":
        if self._sam3 is None:
            raise RuntimeError("the worker was not prepared")
        return self._sam3

    def _recover(self) -> None:
        if self._sam3 is not None:
            self._sam3.recover()

    def _allocated(self) -> int:
        return self._sam3.allocated_mib() if self._sam3 is not None else 0


def die_with_server(server: int) -> None:
    """Let the kernel kill this process when its server dies, so that no orphan keeps GPU memory."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        raise SystemExit("the server died before this worker began")


def serve(channel: socket.socket, session: Session) -> None:
    """Answer requests one after the other until the server closes its end."""
    stream = channel.makefile("rb")
    while prefix := stream.read(HEADER.size):
        message_size, payload_size = HEADER.unpack(prefix)
        request = REQUESTS.validate_json(stream.read(message_size))
        pixels = bytearray(payload_size)
        stream.readinto(pixels)
        channel.sendall(head(session.answer(request, pixels)))


def main() -> None:
    """Run the worker on the socket that the server passed down."""
    parser = argparse.ArgumentParser(prog="python -m sam3_server.worker", description=__doc__)
    for name in Options.model_fields:
        parser.add_argument(f"--{name.replace('_', '-')}", required=True)
    options = Options.model_validate(vars(parser.parse_args()))
    die_with_server(options.server)
    logs.configure("worker", options.log_level)
    with socket.socket(fileno=options.socket) as channel:
        serve(channel, Session(options))


if __name__ == "__main__":
    main()
