"""The template: a process that has imported what every worker imports, and is forked for each of them.

    server ── Setup, socket ──► template ── fork ──► middle ── fork ──► worker
           ◄── Forked ─────────

To import PyTorch and transformers takes some ten seconds, to fork some hundredths of one. The process in the middle
ends at once, and the server, which adopts orphans, becomes the worker's parent: so the worker outlives the template,
and the server learns how it ended.

A fork copies one thread alone, and nothing that a GPU's driver knows of a process. So the template starts no thread and
never speaks to a driver; once its imports are done it looks at itself, and says so if it must not be forked.
"""

import gc
import importlib
import logging
import mmap
import os
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from sam3_server import logs
from sam3_server.worker import linux
from sam3_server.worker.protocol import MESSAGE_SIZE, ForkAnswer, Forked, Refused, Setup, TemplateReady
from sam3_server.worker.session import WORKER, work

log = logging.getLogger(__name__)

HEAVY = "sam3_server.worker.model"
PID_SIZE = 8
DRIVERS = ("/dev/nvidia", "/dev/dxg")
OWN = Path("/proc/self")


def main() -> None:
    """Fork workers for a server; the arguments are the socket's descriptor, the server's process id, a log level."""
    descriptor, server, level = sys.argv[1:]
    linux.call_this("sam3-template")
    linux.die_with(int(server))
    logs.configure("template", level)
    with socket.socket(fileno=int(descriptor)) as control:
        began = time.monotonic()
        importlib.import_module(HEAVY)
        reason = unfit()
        control.send(TemplateReady(seconds=time.monotonic() - began, unfit=reason).model_dump_json().encode())
        if reason is None:
            gc.collect()
            gc.freeze()  # else the collector's marks make each worker a copy of pages that could stay shared
            serve(control, int(server))


def unfit() -> str | None:
    """Say why this process must not be forked, if so."""
    threads = [(each / "comm").read_text(encoding="ascii").strip() for each in (OWN / "task").iterdir()]
    if len(threads) > 1:
        return f"it has {len(threads)} threads ({', '.join(threads)})"
    opened = {str(each.readlink()) for each in (OWN / "fd").iterdir() if each.is_symlink()}
    drivers = sorted(path for path in opened if path.startswith(DRIVERS))
    return f"it has opened {', '.join(drivers)}" if drivers else None


def serve(control: socket.socket, server: int) -> None:
    """Fork a worker for each message until the server closes its end."""
    told = mmap.mmap(-1, PID_SIZE)
    while True:
        setup, descriptors, _, _ = socket.recv_fds(control, MESSAGE_SIZE, 1)
        if not setup:
            return
        with socket.socket(fileno=descriptors[0]) as channel:
            control.send(_fork(control, channel, server, setup, told).model_dump_json().encode())


def _fork(control: socket.socket, channel: socket.socket, server: int, setup: bytes, told: mmap.mmap) -> ForkAnswer:
    """Fork a worker by way of a process in the middle, which leaves its id in the memory shared with it, `told`."""
    told[:] = bytes(PID_SIZE)
    try:
        middle = os.fork()
    except OSError as error:
        return Refused(message=str(error))
    if not middle:
        _be_in_the_middle(control, channel, server, setup, told)
    os.waitpid(middle, 0)
    pid = int.from_bytes(told[:], "big")
    return Forked(pid=pid) if pid else Refused(message="the second of two forks failed")


def _be_in_the_middle(
    control: socket.socket, channel: socket.socket, server: int, setup: bytes, told: mmap.mmap
) -> NoReturn:
    try:
        linux.call_this(WORKER)
        middle = os.getpid()
        if worker := os.fork():
            told[:] = worker.to_bytes(PID_SIZE, "big")
        else:
            control.close()
            _be_the_worker(middle, channel, server, setup)
        os._exit(0)
    except Exception:
        log.exception("process %d failed", os.getpid())
    finally:
        os._exit(1)


def _be_the_worker(middle: int, channel: socket.socket, server: int, setup: bytes) -> None:
    while os.getppid() == middle:
        time.sleep(0.001)
    work(channel, server, Setup.model_validate_json(setup))


if __name__ == "__main__":
    main()
