"""An intake process: reads one request after another until its server ends, or the kernel ends it at a limit.

Its memory and the CPU time of each request are limited by the kernel, which also interrupts native libraries.
"""

import logging
import math
import os
import resource
import socket
import sys
import time
from collections.abc import Sequence

from residency import linux, logs
from residency.errors import BodyError, ServiceError
from sam3_server import memory_files
from sam3_server.errors import ImageTooLargeError
from sam3_server.intake import answers
from sam3_server.intake.protocol import (
    MESSAGE_SIZE,
    REQUESTS,
    TERMS,
    BatchHead,
    Done,
    ImageBatch,
    ParsedQuery,
    Read,
    ReadImage,
    Refusal,
    Reply,
    Request,
    RequestLimits,
    Respond,
    Setup,
)
from sam3_server.intake.request_reader import read, read_image
from sam3_server.memory_files import Bytes, Piece

log = logging.getLogger(__name__)

NAME = "sam3-intake"
NICENESS = 5  # the server's event loop has priority


def main() -> None:
    """Read for the server; the arguments are the socket's descriptor, the server's process id, a `Setup` in JSON."""
    descriptor, server, written = sys.argv[1:]
    setup = Setup.model_validate_json(written)
    linux.set_process_name(NAME)
    linux.die_with_parent(int(server))
    logs.configure("intake", setup.log_level)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (setup.memory_mib << 20, setup.memory_mib << 20))
    with socket.socket(fileno=int(descriptor)) as channel:
        _serve(channel, setup)


def _serve(channel: socket.socket, setup: Setup) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_SIZE, 1)
        if not message:
            return
        _limit_cpu(setup.cpu_seconds)
        answer = memory_files.create("sam3-answer")
        try:
            reply = _answer(REQUESTS.validate_json(message), memory_files.take(descriptors[0]), answer, setup.limits)
            socket.send_fds(channel, [reply.model_dump_json().encode()], [answer])
        finally:
            os.close(answer)


def _limit_cpu(seconds: int) -> None:
    """Let the kernel send SIGXCPU, which ends the process, after some seconds of CPU time from now."""
    soft = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _answer(request: Request, content: Bytes, answer: int, limits: RequestLimits) -> Reply:
    try:
        match request:
            case Read():
                return _written(answer, *read(request, content, limits))
            case ReadImage():
                return _written(answer, *read_image(request, content, limits))
            case Respond():
                return _respond(request, content, answer)
    except BodyError as error:
        field_errors = [(each.where, each.message) for each in error.field_errors]
        return Refusal(status=error.status, message=str(error), field_errors=field_errors)
    except ServiceError as error:
        status = 413 if isinstance(error, ImageTooLargeError) else 422
        return Refusal(status=status, message=str(error))
    except MemoryError:
        return Refusal(status=413, message="the image takes too much memory to decode; scale it down")
    except Exception:
        log.exception("a request could not be read")
        return Refusal(status=500, message="an unexpected error; see the server's log")


def _written(answer: int, head: ParsedQuery | BatchHead, pieces: Sequence[Piece]) -> Done | ImageBatch:
    """Write what was read into the file of the answer."""
    size = memory_files.write(answer, head.model_dump_json().encode())
    for piece in pieces:
        memory_files.write(answer, piece)
    return ImageBatch(size=size, count=len(pieces)) if isinstance(head, BatchHead) else Done(size=size)


def _respond(request: Respond, content: Bytes, answer: int) -> Done:
    terms = TERMS.validate_json(content[: request.size])
    return Done(size=memory_files.write(answer, answers.respond(terms, content[request.size :])))


if __name__ == "__main__":
    main()
