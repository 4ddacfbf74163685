"""Processes of the operator that start quickly: forked from a server that has imported everything already.

A process has the environment and the arguments that it is given, and nothing else of the process that starts it.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["gpu_relay.__main__", "gpu_relay.process", "kubernetes.config", __name__])


class ForkedProcess:
    """`gpu-relay …` as a process, with the methods of `subprocess.Popen` that are used here."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, *, skew: float = 0.0
    ) -> None:
        """Start it; it appends to `log`. `skew` is how far its wall clock is ahead of the machine's, in seconds."""
        log.touch()  # it can be read at once
        target = (tuple(arguments), dict(environment), str(log), skew)
        self._process = _context.Process(target=_run, args=target, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit status, None while it lives; that of a signal is negative."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended; raise subprocess.TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("gpu-relay", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: tuple[str, ...], environment: dict[str, str], log: str, skew: float) -> None:
    """Be the operator (in the new process)."""
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.argv = ["gpu-relay", *arguments]
    if skew:
        wall = time.time
        time.time = lambda: wall() + skew
    from kubernetes import config
    from kubernetes.aio import config as aio_config

    from gpu_relay.__main__ import main

    for client in (config, aio_config):  # they read the variable when they are imported, which was in the fork server
        client.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]
    main()
