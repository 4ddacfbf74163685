"""What hostile and careless clients cost the other clients: the longest silence of /health, an honest request, memory.

The server is that of this checkout, or of another one, so that two can be compared on one machine.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from bench.sam3 import attacks
from bench.sam3.attacks import CONCEPT, HONEST, MIB, SEGMENT
from bench.sam3.health import polling
from devcluster.programs.sam3 import PNG, TOKEN, Server, tiny_model

SECONDS = 5.0
REVIEW_SECONDS = 3.0
OWNER = "system:serviceaccount:gpu-relay:gpu-relay"
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Suffered:
    """What others noticed of one attack.

    Milliseconds that /health, and a server that does nothing, took at most; an honest request's seconds and status; MiB
    that server and readers grew by; the largest answer's bytes; how many answers of each status the attack got.
    """

    attack: str
    health: float
    nothing: float
    honest: float
    honest_status: int
    grown_mib: int
    answer_bytes: int
    statuses: dict[str, int]


def measure(folder: Path, checkout: Path | None) -> list[Suffered]:
    """Start a server with the tiny model on the CPU, and attack it in every way."""
    with _slow_reviewer(folder) as kubeconfig:
        settings = {
            "SAM3_GPU_MEMORY_MIB": "0",
            "SAM3_CONTROL_SERVICE_ACCOUNTS": "gpu-relay:gpu-relay",
            "SAM3_CONTROL_TOKEN_FILE": "",
            "KUBECONFIG": str(kubeconfig),
            "SAM3_LOG_LEVEL": "error",
        }
        if checkout is not None:
            settings["PYTHONPATH"] = f"{checkout / 'images' / 'sam3'}:{checkout / 'images' / 'common'}"
        server = Server(None, tiny_model(), folder / "none", settings)
        try:
            server.segment().raise_for_status()
            return [_suffer(server, name, attack) for name, attack in _attacks(server).items()]
        finally:
            server.end()


Answers = list[httpx.Response]


def _attacks(server: Server) -> dict[str, Callable[[], Answers]]:
    url = server.url
    numbers = iter(range(1_000_000))

    def post(path: str, body: bytes, at_a_time: int) -> Callable[[], Answers]:
        return lambda: _together(at_a_time, lambda: attacks.send(url, path, body))

    def made_up() -> httpx.Response:
        headers = {"authorization": f"Bearer made-up-{next(numbers)}", "x-forwarded-for": attacks.ATTACKER}
        return httpx.post(f"{url}/api/v1/unload", headers=headers, timeout=attacks.PATIENCE, verify=False)

    return {
        "3 MiB of prompts that are none": post(SEGMENT, attacks.senseless_prompts(), 1),
        "1 MiB of valid prompts": post(SEGMENT, attacks.valid_prompts(), 1),
        "0.6 MiB of boxes that are none": post(CONCEPT, attacks.senseless_boxes(), 1),
        "40 MiB of one prompt, 4 at a time": post(SEGMENT, attacks.long_text(), 4),
        "40 MiB of brackets, 4 at a time": post(SEGMENT, attacks.nested(), 4),
        "20 connections that send most of 40 MiB, and then trickle": lambda: _slowly(server),
        "24 uploads of 40 MiB while the GPU is lent out": lambda: _while_held(server),
        "24 bodies in crumbs": lambda: _together(24, lambda: attacks.crumbs(server.port)),
        "64 calls with made-up tokens, a slow API server": lambda: _together(64, made_up),
        "6 PNGs of a million empty chunks": post(SEGMENT, attacks.as_json(attacks.empty_chunks()), 6),
    }


def _together(count: int, attack: Callable[[], httpx.Response | int]) -> Any:
    with attacks.meanwhile(count, attack) as results:
        pass
    return results


def _slowly(server: Server) -> Answers:
    with attacks.Slow(server.port, 20, sent=39 * MIB):
        time.sleep(SECONDS)
    return []


def _while_held(server: Server) -> Answers:
    claim = {"holder": "bench", "fence": 1}
    server.client.post("/api/v1/unload", json=claim | {"renew_key": "key", "ttl_seconds": 600}).raise_for_status()
    try:
        body = attacks.as_json(bytes(29 * MIB))
        answers: Answers = _together(24, lambda: attacks.send(server.url, SEGMENT, body))
        return answers
    finally:
        server.client.post("/api/v1/load", json=claim).raise_for_status()


def _suffer(server: Server, name: str, attack: Callable[[], Answers]) -> Suffered:
    print(f"{name} ...", flush=True)
    before = _held_mib(server)
    with polling(server.url) as polled, _watched(server) as most:
        results: list[Answers] = []
        attacking = threading.Thread(target=lambda: results.append(attack()))
        attacking.start()
        time.sleep(0.5)  # it has begun, and what it fills is full
        honest, status = _honest(server)
        attacking.join()
    answers = results[0] if results else []
    statuses: dict[str, int] = {}
    for each in answers:
        status_of = str(each.status_code if isinstance(each, httpx.Response) else each)
        statuses[status_of] = statuses.get(status_of, 0) + 1
    sizes = [len(each.content) for each in answers if isinstance(each, httpx.Response)]
    grown = max(most, default=before) - before
    largest = max(sizes, default=0)
    return Suffered(name, polled.health.most, polled.nothing.most, honest, status, grown, largest, statuses)


def _honest(server: Server) -> tuple[float, int]:
    files, data = {"image": ("a.png", PNG)}, {"prompt": "cat"}
    headers = {"x-forwarded-for": HONEST}
    began = time.monotonic()
    answer = httpx.post(
        server.url + SEGMENT, files=files, data=data, headers=headers, timeout=attacks.PATIENCE, verify=False
    )
    return time.monotonic() - began, answer.status_code


@contextmanager
def _watched(server: Server) -> Iterator[list[int]]:
    """Look at the memory for the length of a `with` block; what was seen is in the list."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(_held_mib(server))

    looking = threading.Thread(target=look)
    looking.start()
    yield seen
    over.set()
    looking.join()


def _held_mib(server: Server) -> int:
    """Return what server and readers hold, and the files in memory that belong to the server."""
    files = 0
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if "memfd:" in str(each.readlink()):
                files += each.stat().st_blocks * 512
    resident = sum(_resident(pid) for pid in (server.process.pid, *server.readers()))
    return (resident + files) // MIB


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), 0)
    return 0


@contextmanager
def _slow_reviewer(folder: Path) -> Iterator[Path]:
    """Serve an API server that takes its time for TokenReviews of tokens it does not know; return a kubeconfig."""

    class Reviewer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]["token"]
            if token != TOKEN:
                time.sleep(REVIEW_SECONDS)
            known = {"authenticated": True, "audiences": ["gpu-relay"], "user": {"username": OWNER}}
            body = json.dumps({"status": known if token == TOKEN else {"authenticated": False}}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Reviewer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = folder / "kubeconfig"
    cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "slow", "cluster": cluster}],
        "users": [{"name": "anonymous", "user": {"token": TOKEN}}],
        "contexts": [{"name": "slow", "context": {"cluster": "slow", "user": "anonymous"}}],
        "current-context": "slow",
    }
    kubeconfig.write_text(json.dumps(content))
    yield kubeconfig
    server.shutdown()
