"""What a worker process does: answers its server's requests until either of them ends."""

import logging
import math
import os
import socket
import time
from typing import TYPE_CHECKING

from residency import linux, logs
from sam3_server.worker.allowance import Allowance
from sam3_server.worker.channel import Channel
from sam3_server.worker.protocol import (
    Attach,
    Cancel,
    Encode,
    Failed,
    Prepare,
    Prepared,
    Reason,
    Reply,
    Request,
    Segment,
    Segmented,
    Setup,
    WorkerError,
)

if TYPE_CHECKING:
    from sam3_server.worker.model import Sam3

log = logging.getLogger(__name__)

WORKER = "sam3-worker"


def run_worker(channel: socket.socket, server: int, setup: Setup) -> None:
    """Serve the server with this process id, which is the parent, until it closes its end of the channel."""
    linux.set_process_name(WORKER)
    linux.die_with_parent(server)
    logs.configure("worker", setup.log_level)
    if not setup.memory_mib:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # PyTorch looks for a GPU even where it computes on the CPU
    with channel:
        _serve(Channel(channel), Session(setup))


def _serve(channel: Channel, session: "Session") -> None:
    while asked := channel.receive():
        request, pixels = asked
        seconds = request.seconds if isinstance(request, Segment) else math.inf
        reply = session.answer(request, pixels, Allowance(seconds, channel.cancelled))
        channel.reply(reply, reply.findings if isinstance(reply, Segmented) else b"")


class Session:
    """The steps of one worker: prepare, attach, then segment."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._sam3: Sam3 | None = None

    def answer(self, request: Request, pixels: bytearray, allowance: Allowance) -> Reply:
        """Serve one request. Every error becomes a `Failed`, unless the CUDA context itself is broken."""
        try:
            return self._serve(request, pixels, allowance)
        except WorkerError as error:
            if error.reason in ("memory", "error"):  # others leave nothing behind, and the features stay useful
                self._recover()
            return self._failed(error.reason, str(error), allowance)
        except Exception as error:
            log.exception("%s failed", request.kind)
            self._recover()
            return self._failed("error", f"{type(error).__name__}: {error}", allowance)

    def _serve(self, request: Request, pixels: bytearray, allowance: Allowance) -> Reply:
        match request:
            case Prepare():
                return self._prepare()
            case Attach():
                return self._model().attach()
            case Segment():
                return self._model().segment(request, pixels, allowance)
            case Encode() | Cancel():
                raise RuntimeError("a worker does not serve this request")

    def _failed(self, reason: Reason, message: str, allowance: Allowance) -> Failed:
        return Failed(reason=reason, message=message, allocated_mib=self._allocated(), prompts=allowance.prompts)

    def _prepare(self) -> Prepared:
        began = time.monotonic()
        from sam3_server.worker.model import Sam3

        setup = self._setup
        self._sam3 = Sam3(setup.model, setup.dtype, setup.memory_mib, setup.cached_images)
        return Prepared(seconds=time.monotonic() - began, weights_mib=self._sam3.weights_mib())

    def _model(self) -> "Sam3":
        if self._sam3 is None:
            raise RuntimeError("the worker was not prepared")
        return self._sam3

    def _recover(self) -> None:
        if self._sam3 is not None:
            self._sam3.recover()

    def _allocated(self) -> int:
        return self._sam3.allocated_mib() if self._sam3 is not None else 0
