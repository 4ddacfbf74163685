"""The encoder: a process that writes answers from what the worker found, while the worker computes the next request.

How long run lengths, outlines, label lines and JSON take depends on the request, and they hold the interpreter lock.
They need neither the GPU nor PyTorch: in this process no inference waits for them, and the model can be unloaded.
"""

import logging
import os
import socket
import sys

from residency import linux, logs
from sam3_server.worker import instances, postprocess
from sam3_server.worker.allowance import Allowance
from sam3_server.worker.channel import Channel
from sam3_server.worker.protocol import Encode, Encoded, Failed, Findings, Query, Reply, Request, WorkerError

log = logging.getLogger(__name__)

NAME = "sam3-encoder"
NICENESS = 5  # the server's event loop has priority


def main() -> None:
    """Encode for a server; the arguments are the socket's descriptor, the server's process id, a log level."""
    descriptor, server, level = sys.argv[1:]
    linux.set_process_name(NAME)
    linux.die_with_parent(int(server))
    logs.configure("encoder", level)
    os.nice(NICENESS)
    with socket.socket(fileno=int(descriptor)) as stream:
        _serve(Channel(stream))


def _serve(channel: Channel) -> None:
    while asked := channel.receive():
        channel.reply(*_answer(*asked, channel))


def _answer(request: Request, data: bytearray, channel: Channel) -> tuple[Reply, bytes]:
    try:
        assert isinstance(request, Encode), request.kind
        return Encoded(), encode(request.query, data, Allowance(request.seconds, channel.cancelled))
    except WorkerError as error:
        return Failed(reason=error.reason, message=str(error)), b""
    except Exception as error:
        log.exception("%s failed", request.kind)
        return Failed(reason="error", message=f"{type(error).__name__}: {error}"), b""


def encode(query: Query, data: bytes | bytearray, allowance: Allowance) -> bytes:
    """Return the answer to a query, in JSON, from what the worker found.

    Raises:
        WorkerError: the client has disconnected, or the time has passed.

    """
    head, found = instances.unpack(data, allowance.check)
    results, labels = postprocess.build_results(query, found, head.width, head.height, allowance.check)
    findings = Findings(
        width=head.width,
        height=head.height,
        image_id=head.image_id,
        model_seconds=head.model_seconds,
        results=results,
        yolo_labels=labels,
    )
    return findings.model_dump_json(exclude_none=True).encode()


if __name__ == "__main__":
    main()
