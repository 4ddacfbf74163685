"""The operator as a process, to be started, killed and started again."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from devcluster.paths import REPOSITORY
from devcluster.programs.forked import ForkedProcess

_FAST = {
    "GPU_RELAY_SAMPLE_INTERVAL": "0.1",
    "GPU_RELAY_PROGRESS_INTERVAL": "0.2",
    "GPU_RELAY_BACKOFF_BASE": "0.3",
    "GPU_RELAY_MEMORY_RETURN_TIMEOUT": "2",
    "GPU_RELAY_HTTP_PORT": "0",
    "GPU_RELAY_RESIDENT_NAMESPACES": "*",
    "GPU_RELAY_PREPARATIONS": "0",  # no kubelet runs what is not scripted
    "GPU_RELAY_LEASE_DURATION": "6",
}


class OperatorProcess:
    """`gpu-relay run` against a kubeconfig, with short intervals."""

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        options: tuple[str, ...] = ("--verbose",),
        /,
        *,
        replica: str = "one",
        **settings: str,
    ) -> None:
        """Processes of one `replica` follow one another, as the restarted container of a pod does."""
        self._arguments = (*options, "run")
        self._log = log
        self._environment = {
            **os.environ,
            **_FAST,
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "BIND_ADDRESS": "127.0.0.1",
            "POD_NAME": f"operator-{replica}",
            "POD_UID": replica,
            **{f"GPU_RELAY_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "gpu_relay", *self._arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def pause(self) -> None:
        """Stop the process with SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process with SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL if that does not help; returns the exit status when it is gone, None if it never ran."""
        return self._end(signal.SIGTERM)

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def wait(self, seconds: float) -> int:
        """Wait for it to end by itself, and return its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def probe(self, path: str) -> httpx.Response:
        """GET one of its probes."""
        port = re.search(r"probes on port (\d+)", self.log())
        assert port is not None, "it has not reported its port yet"
        return httpx.get(f"http://127.0.0.1:{port[1]}{path}", trust_env=False)

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> int | None:
        if self._process is None:
            return None
        self._process.send_signal(number)
        try:
            status = self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = None
        return status


class ForkedOperator(OperatorProcess):
    """An operator whose process is forked from one that has imported everything: it starts a second earlier."""

    def start(self) -> None:
        """Start it."""
        self._process = ForkedProcess(self._arguments, self._environment, self._log)
