"""The operators of a scenario, as processes that cost little to start."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from devcluster.programs.forked import ForkedProcess


class Operator:
    """`gpu-relay run` with an environment of its own; its processes follow one another under the same identity."""

    def __init__(self, name: str, log: Path, environment: dict[str, str], *, skew: float = 0.0) -> None:
        """`skew` is how far its wall clock is ahead of everybody else's, in seconds."""
        self.name = name
        self.log = log
        self.starts = 0
        self.continued = float("-inf")
        """When it last resumed after a pause (monotonic, seconds)."""
        self._environment = {**os.environ, **environment, "POD_NAME": name, "POD_UID": name}
        self._skew = skew
        self._process: ForkedProcess | None = None

    def start(self) -> None:
        """Start the next process."""
        self.starts += 1
        self._process = ForkedProcess(["run"], self._environment, self.log, skew=self._skew)

    @property
    def running(self) -> bool:
        """True while its process lives."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self.running:
            self._process.send_signal(number)
            if number == signal.SIGCONT:
                self.continued = time.monotonic()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


def kubeconfig_of(server: str) -> dict[str, Any]:
    """Return the kubeconfig of an operator whose API server is behind a proxy, which adds the rights."""
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
        "users": [{"name": "operator", "user": {"token": "none"}}],
    }  # fmt: skip
