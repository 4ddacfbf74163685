"""Operators as processes that cost little to start: forked from a server that has imported everything already."""

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["gpu_relay.__main__", "tests.chaos.operators"])


class Operator:
    """`gpu-relay run` with an environment of its own; its processes follow one another under the same identity."""

    def __init__(self, name: str, log: Path, environment: dict[str, str], *, skew: float = 0.0) -> None:
        """`skew` is how far its wall clock is ahead of everybody else's, in seconds."""
        self.name = name
        self.log = log
        self.starts = 0
        self.continued = float("-inf")
        """When it last resumed after a pause (monotonic, seconds)."""
        self._environment = {**environment, "POD_NAME": name, "POD_UID": name}
        self._skew = skew
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Start the next process."""
        self.starts += 1
        arguments = (self._environment, str(self.log), self._skew)
        self._process = _context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def running(self) -> bool:
        """True while its process lives."""
        return self._process is not None and self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)
            if number == signal.SIGCONT:
                self.continued = time.monotonic()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.join(10)


def _run(environment: dict[str, str], log: str, skew: float) -> None:
    """Be the operator (in the new process)."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.argv = ["gpu-relay", "run"]
    if skew:
        wall = time.time
        time.time = lambda: wall() + skew
    from kubernetes import config
    from kubernetes.aio import config as aio_config

    from gpu_relay.__main__ import main

    for client in (config, aio_config):  # they read the variable when they are imported, which was in the fork server
        client.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]
    main()
