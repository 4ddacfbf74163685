"""The operator as a process, to be started, killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FAST = {
    "GPU_RELAY_SAMPLE_INTERVAL": "0.1",
    "GPU_RELAY_PROGRESS_INTERVAL": "0.2",
    "GPU_RELAY_BACKOFF_BASE": "0.3",
    "GPU_RELAY_MEMORY_RETURN_TIMEOUT": "2",
    "GPU_RELAY_HTTP_PORT": "0",
    "GPU_RELAY_RESIDENT_NAMESPACES": "*",
    "GPU_RELAY_PREPARATIONS": "0",  # no kubelet runs what is not scripted
}


class OperatorProcess:
    """`gpu-relay run` against a kubeconfig, with short intervals."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self._log = log
        self._environment = {
            **os.environ,
            **_FAST,
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "BIND_ADDRESS": "127.0.0.1",
            **{f"GPU_RELAY_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gpu_relay", "run"], env=self._environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help; returns when it is gone."""
        self._end(signal.SIGTERM)

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
