"""The relay adapter as a process, on a simulated GPU, and calls to it."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually
from gpu_memory import Ledger

PYTHONPATH = os.pathsep.join(str(REPOSITORY / part) for part in ("images/adapter", "images/common", "."))
NEED_MIB = 10_000
_END_SECONDS = 30.0


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AdapterProcess:
    """One adapter, before the engine at a URL, or one that it runs by `command`."""

    def __init__(
        self,
        ledger: Ledger,
        token_file: Path,
        *,
        profile: str,
        engine: str,
        command: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        control, proxy = free_port(), free_port()
        self.url = f"http://127.0.0.1:{control}"
        self.proxy_url = f"http://127.0.0.1:{proxy}"
        own = {
            "PROFILE": profile,
            "ENGINE": engine,
            "MODEL": "m",
            "GPU_MEMORY_MIB": str(NEED_MIB),
            "CONTROL_TOKEN_FILE": str(token_file),
            "HTTP_PORT": str(control),
            "PROXY_PORT": str(proxy),
            **(settings or {}),
        }
        environment = {
            **os.environ,
            **ledger.environment,
            "PYTHONPATH": PYTHONPATH,
            "BIND_ADDRESS": "127.0.0.1",
            **{f"RELAY_ADAPTER_{name}": value for name, value in own.items()},
        }
        program = [sys.executable, "-m", "relay_adapter", *(("--", *command) if command else ())]
        self.process = subprocess.Popen(program, env=environment)
        headers = {"Authorization": f"Bearer {token_file.read_text()}"}
        self.control = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        self.client = httpx.Client(base_url=self.proxy_url, timeout=60, trust_env=False)
        try:
            eventually(self._answers, "the adapter answers")
        except BaseException:
            self.end()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the adapter has ended"
        with contextlib.suppress(httpx.TransportError):
            return self.control.get("/health").is_success
        return False

    def unload(self, fence: int, **terms: Any) -> httpx.Response:
        """Ask for an unload under a hold of `job/a`."""
        body = {"holder": "job/a", "fence": fence, "renew_key": "key", **terms}
        return self.control.post("/api/v1/unload", json=body)

    def load(self, fence: int) -> httpx.Response:
        """Ask for a load in the name of `job/a`."""
        return self.control.post("/api/v1/load", json={"holder": "job/a", "fence": fence})

    def report(self) -> dict[str, Any]:
        """Return what it reports of the GPU."""
        report: dict[str, Any] = self.control.get("/api/v1/gpu").json()
        return report

    def end(self) -> int:
        """End it, and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(_END_SECONDS)
        finally:
            self.process.kill()
            self.control.close()
            self.client.close()
