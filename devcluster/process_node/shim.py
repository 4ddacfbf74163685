"""Runs one container's program until every process of it has ended, as a PID namespace would see to.

    python -I -S shim.py <pid of the node> <program> <argument>…

SIGTERM is passed on to the program. SIGUSR1, which the kernel also sends when the node dies, kills the program and all
its descendants. When the program ends, whatever it left behind is killed, and the shim ends with its exit code (128 +
the signal's number, if a signal ended it; 128 if it could not be started).

A program of its own, in plain standard library: it must be small, start fast and outlive its parent by a moment.
"""

import ctypes
import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_STARTED = 128
_SIGNALS = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
_libc = ctypes.CDLL(None, use_errno=True)


def main(node: int, command: list[str]) -> int:
    """Run the command; returns its exit code."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != node:
        return 128 + signal.SIGKILL  # the node died before the kernel was asked to signal its death
    program = os.fork()
    if program == 0:
        _become(command, former)
    status = _attend(program)
    _end_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _attend(program: int) -> int:
    while True:
        arrived = signal.sigwait(_SIGNALS)
        if arrived == signal.SIGTERM:
            os.kill(program, signal.SIGTERM)
        elif arrived == signal.SIGUSR1:
            os.kill(program, signal.SIGKILL)
        # orphans of the program are reaped here too: the shim is their new parent
        for pid, status in _reap():
            if pid == program:
                return status


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def _end_descendants() -> None:
    """Kill until nothing is left: what loses its parent meanwhile becomes the shim's child and is found again."""
    while found := _descendants():
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap()
        time.sleep(0.002)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    heads = [os.getpid()]
    while heads:
        heads = [child for head in heads for child in children.get(head, [])]
        found += heads
    return found


def _become(command: list[str], mask: set[int]) -> NoReturn:
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvp(command[0], command)
    except OSError as error:
        reason = "not found on PATH" if error.errno == errno.ENOENT else os.strerror(error.errno or 0)
        os.write(2, f"cannot start {command[0]!r}: {reason}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
