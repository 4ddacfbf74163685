"""The zygote: a process that has imported what every worker imports, and is forked for each of them.

    server ── Setup, socket ──► zygote ── fork ──► intermediate ── fork ──► worker
           ◄── Forked ─────────

Importing PyTorch and transformers takes about 10 s, a fork about 0.03 s. The intermediate process ends at once, and the
server, which adopts orphans, becomes the worker's parent: so the worker outlives the zygote, and the server gets its
exit code. Its process name is `sam3-template`.

A fork copies only one thread, and no state that a GPU's driver has of a process. So the zygote starts no thread and
uses no driver. It checks this after its imports, and reports the reason if it must not be forked.
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

from residency import linux, logs
from sam3_server.worker.protocol import Setup
from sam3_server.worker.session import WORKER, run_worker
from sam3_server.worker.zygote_protocol import MESSAGE_SIZE, ForkAnswer, Forked, Refused, ZygoteReady

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
            gc.freeze()  # else garbage collection in a worker would copy pages that are shared
            serve(control, int(server))


def unfit_reason() -> str | None:
    """Return why this process must not be forked; None if it may be."""
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
        intermediate = os.fork()
    except OSError as error:
        return Refused(message=str(error))
    if not intermediate:
        _run_intermediate(control, channel, server, setup, shared_pid)
    os.waitpid(intermediate, 0)
    pid = int.from_bytes(shared_pid[:], "big")
    return Forked(pid=pid) if pid else Refused(message="the second of two forks failed")


def _run_intermediate(
    control: socket.socket, channel: socket.socket, server: int, setup: bytes, shared_pid: mmap.mmap
) -> NoReturn:
    try:
        linux.set_process_name(WORKER)
        intermediate = os.getpid()
        if worker := os.fork():
            shared_pid[:] = worker.to_bytes(PID_SIZE, "big")
        else:
            control.close()
            _run_worker(intermediate, channel, server, setup)
        os._exit(0)
    except Exception:
        log.exception("process %d failed", os.getpid())
    finally:
        os._exit(1)


def _run_worker(intermediate: int, channel: socket.socket, server: int, setup: bytes) -> None:
    while os.getppid() == intermediate:
        time.sleep(0.001)
    run_worker(channel, server, Setup.model_validate_json(setup))


if __name__ == "__main__":
    main()
