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
from sam3_server.worker.protocol import MESSAGE_SIZE, ForkAnswer, Forked, Refused, Setup, ZygoteReady
from sam3_server.worker.session import WORKER, run_worker

log = logging.getLogger(__name__)

PRELOADED_MODULE = "sam3_server.worker.model"
PID_SIZE = 8
DRIVERS = ("/dev/nvidia", "/dev/dxg")
PROC_SELF = Path("/proc/self")


def main() -> None:
    """Fork workers for a server; the arguments are the socket's descriptor, the server's process id, a log level."""
    descriptor, server, level = sys.argv[1:]
    linux.set_process_name("sam3-template")
    linux.die_with_parent(int(server))
    logs.configure("template", level)
    with socket.socket(fileno=int(descriptor)) as control:
        began = time.monotonic()
        importlib.import_module(PRELOADED_MODULE)
        reason = unfit_reason()
        control.send(ZygoteReady(seconds=time.monotonic() - began, unfit=reason).model_dump_json().encode())
        if reason is None:
            gc.collect()
            gc.freeze()  # else the collector's marks make each worker a copy of pages that could stay shared
            serve(control, int(server))


def unfit_reason() -> str | None:
    """Say why this process must not be forked, if so."""
    threads = [(each / "comm").read_text(encoding="ascii").strip() for each in (PROC_SELF / "task").iterdir()]
    if len(threads) > 1:
        return f"it has {len(threads)} threads ({', '.join(threads)})"
    opened = {str(each.readlink()) for each in (PROC_SELF / "fd").iterdir() if each.is_symlink()}
    drivers = sorted(path for path in opened if path.startswith(DRIVERS))
    return f"it has opened {', '.join(drivers)}" if drivers else None


def serve(control: socket.socket, server: int) -> None:
    """Fork a worker for each message until the server closes its end."""
    shared_pid = mmap.mmap(-1, PID_SIZE)
    while True:
        setup, descriptors, _, _ = socket.recv_fds(control, MESSAGE_SIZE, 1)
        if not setup:
            return
        with socket.socket(fileno=descriptors[0]) as channel:
            control.send(_fork(control, channel, server, setup, shared_pid).model_dump_json().encode())


def _fork(
    control: socket.socket, channel: socket.socket, server: int, setup: bytes, shared_pid: mmap.mmap
) -> ForkAnswer:
    """Fork a worker by way of an intermediate process, which writes its id to the shared memory `shared_pid`."""
    shared_pid[:] = bytes(PID_SIZE)
    try:
        middle = os.fork()
    except OSError as error:
        return Refused(message=str(error))
    if not middle:
        _run_intermediate(control, channel, server, setup, shared_pid)
    os.waitpid(middle, 0)
    pid = int.from_bytes(shared_pid[:], "big")
    return Forked(pid=pid) if pid else Refused(message="the second of two forks failed")


def _run_intermediate(
    control: socket.socket, channel: socket.socket, server: int, setup: bytes, shared_pid: mmap.mmap
) -> NoReturn:
    try:
        linux.set_process_name(WORKER)
        middle = os.getpid()
        if worker := os.fork():
            shared_pid[:] = worker.to_bytes(PID_SIZE, "big")
        else:
            control.close()
            _run_worker(middle, channel, server, setup)
        os._exit(0)
    except Exception:
        log.exception("process %d failed", os.getpid())
    finally:
        os._exit(1)


def _run_worker(middle: int, channel: socket.socket, server: int, setup: bytes) -> None:
    while os.getppid() == middle:
        time.sleep(0.001)
    run_worker(channel, server, Setup.model_validate_json(setup))


if __name__ == "__main__":
    main()
