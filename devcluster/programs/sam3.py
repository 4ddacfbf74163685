"""The SAM3 server as a process, on a simulated GPU or on what the machine has, and calls to it."""

import atexit
import base64
import contextlib
import functools
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from devcluster.paths import REPOSITORY
from devcluster.waiting import eventually
from gpu_memory import Ledger

IMAGES = REPOSITORY / "images"
PYTHONPATH = os.pathsep.join((str(IMAGES / "sam3"), str(IMAGES / "common")))
NEED = 14000
TOKEN = "let-me-in"
LOAD_SECONDS = 120.0
MIB = 1 << 20


def png(width: int = 90, height: int = 60) -> bytes:
    """Return a PNG of noise."""
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
TEXT = base64.b64encode(PNG).decode()


class Server:
    """One server process, and calls to it. Without a ledger it sees the machine's own devices."""

    def __init__(
        self,
        ledger: Ledger | None,
        model: Path,
        token_file: Path,
        settings: Mapping[str, str] | None = None,
        patience: float = LOAD_SECONDS,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            **os.environ,
            **(ledger.environment if ledger else {}),
            "PYTHONPATH": PYTHONPATH,
            "OMP_NUM_THREADS": "1",
            "SAM3_MODEL": str(model),
            "SAM3_GPU_MEMORY_MIB": str(NEED),
            "SAM3_CONTROL_TOKEN_FILE": str(token_file),
            "SAM3_HTTP_PORT": str(port),
            "BIND_ADDRESS": "127.0.0.1",
            **(settings or {}),
        }
        self._ledger = ledger
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, "-m", "sam3_server"], env=environment)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=patience)
        try:
            eventually(self._answers, "the server answers")
        except BaseException:
            self.end()
            raise

    @property
    def ledger(self) -> Ledger:
        """The ledger of the simulated GPU."""
        assert self._ledger is not None, "this server is not on a simulated GPU"
        return self._ledger

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the server has ended"
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/health").is_success
        return False

    def segment(self) -> httpx.Response:
        """Ask for the masks of two prompts."""
        data = {"prompt": ["cat", "red dog"], "threshold": "0"}
        return self.client.post("/api/v1/segment", files={"image": ("a.png", PNG)}, data=data)

    def unload(self, fence: int, **terms: Any) -> httpx.Response:
        """Ask for an unload under a hold of `job/a`."""
        return self.client.post("/api/v1/unload", json={"holder": "job/a", "fence": fence, "renew_key": "key", **terms})

    def load(self, fence: int) -> httpx.Response:
        """Ask for a load in the name of `job/a`."""
        return self.client.post("/api/v1/load", json={"holder": "job/a", "fence": fence})

    def health(self) -> dict[str, Any]:
        """Return the answer of /health."""
        health: dict[str, Any] = self.client.get("/health").json()
        return health

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def standby_ready(self) -> bool:
        """Say whether a standby worker is ready."""
        return self.metric("sam3_standby_ready") == 1

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return self._children("sam3-worker")

    def zygotes(self) -> list[int]:
        """Return the process ids of the processes that workers are forked from."""
        return self._children("sam3-template")

    def readers(self) -> list[int]:
        """Return the process ids of the processes that read requests."""
        return self._children("sam3-intake")

    def zombies(self) -> list[int]:
        """Return the process ids of children that have ended and that it has not waited for."""
        return [pid for pid in self.children() if not runs(pid)]

    def children(self) -> list[int]:
        """Return the process ids of all its children."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]

    def _children(self, name: str) -> list[int]:
        return [pid for pid in self.children() if comm(pid) == name]

    def resident_mib(self) -> int:
        """Host memory that the server itself holds, without its workers."""
        return resident_mib(self.process.pid)

    def descriptors(self) -> int:
        """Return the number of its open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self) -> None:
        """Kill it and wait until it has ended."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def comm(pid: int) -> str | None:
    """What a process calls itself; None once it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return None


def resident_mib(pid: int) -> int:
    """Host memory of a process, 0 once it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // MIB
    return 0


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    return Path(f"/proc/{pid}/exe").exists()


@functools.cache
def tiny_model() -> Path:
    """The tiny model's folder: made once, removed when this process ends."""
    from sam3_server import tiny_model  # imports torch: only where a model is made

    folder = Path(tempfile.mkdtemp(prefix="sam3-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny_model.make(folder)
    return folder
