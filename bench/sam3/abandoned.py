"""What clients that leave, and one that asks for too much, cost the others. Times in seconds, silences in milliseconds.

Each figure of `/health` stands beside that of a server that does nothing, asked at the same time on the same machine.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from bench.sam3 import clients as sam3_clients
from bench.sam3.health import polling
from devcluster.programs.sam3 import Server
from devcluster.waiting import eventually

PROMPTS = [f"thing {index}" for index in range(32)]
ABANDONED_SIZE = (4000, 3000)
HUGE_SIZE = (7000, 7000)
PATIENCE = 3600.0


@dataclass(frozen=True)
class Case:
    """What came of a case, how long it took, and the longest silence of `/health` and of a server without work."""

    name: str
    outcome: str
    seconds: float
    silence_ms: float
    idle_silence_ms: float


def measure(server: Server) -> list[Case]:
    """Measure every case on one loaded server, which must have the default limits."""
    large, huge = _flat(ABANDONED_SIZE), _flat(HUGE_SIZE)
    return [
        _case(server, "16 clients leave; then one asks", lambda: _after_abandoned(server, large)),
        _case(server, "8 clients leave; then unload", lambda: _unload_after_abandoned(server, large)),
        _case(server, "49 megapixels, 32 prompts, polygons", lambda: _one_large_request(server, huge)),
    ]


def _case(server: Server, name: str, act: Callable[[], str]) -> Case:
    with polling(server.url) as polled:
        began = time.perf_counter()
        outcome = act()
        seconds = time.perf_counter() - began
    return Case(name, outcome, seconds, polled.health.most, polled.nothing.most)


def _after_abandoned(server: Server, image: bytes) -> str:
    _abandon(server, image, 16)
    tries = 1
    while (answer := server.segment()).status_code != 200:
        tries += 1
        time.sleep(min(1.0, float(answer.headers["retry-after"])))
    return f"answered at try {tries}"


def _unload_after_abandoned(server: Server, image: bytes) -> str:
    _abandon(server, image, 8)
    unloaded = server.unload(fence=1, ttl_seconds=600, drain_timeout_seconds=60).raise_for_status().json()
    server.load(fence=1).raise_for_status()
    return f"{unloaded['drained']} drained, {unloaded['aborted']} aborted"


def _one_large_request(server: Server, image: bytes) -> str:
    deaths = server.metric("sam3_worker_deaths_total")
    data = {"prompt": PROMPTS, "threshold": "0", "format": "polygon"}
    answer = server.client.post("/api/v1/segment", files={"image": ("a.png", image)}, data=data)
    kept = "kept" if server.metric("sam3_worker_deaths_total") == deaths else "lost"
    size = f"{len(answer.content) >> 20} MiB" if answer.is_success else answer.json()["detail"][:60]
    return f"{answer.status_code} ({size}), worker {kept}"


def _abandon(server: Server, image: bytes, clients: int) -> None:
    """Send so many requests and leave once all are admitted."""
    path, body = sam3_clients.with_image(image, PROMPTS)
    connections = [sam3_clients.post(server.port, path, body) for _ in range(clients)]
    eventually(lambda: _in_flight(server) == clients, "every request is admitted", within=PATIENCE)
    sam3_clients.leave(connections)


def _in_flight(server: Server) -> int:
    return int(server.client.get("/api/v1/gpu").json()["in_flight"])


def _flat(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "green").save(buffer, "PNG")
    return buffer.getvalue()
