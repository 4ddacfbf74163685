"""A resident that follows the contract and misbehaves on request, as the real server cannot be asked to."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_addresses = (f"127.8.{block}.{number}" for block in range(256) for number in range(2, 255))
_TOTAL, _RESERVED, _MODEL = 15360, 450, 14000


@dataclass
class Faults:
    """What goes wrong; all of it can be changed while the resident serves."""

    unload: str = ""
    load: str = ""
    report: str = ""
    mute: bool = False
    leak_mib: int = 0
    """Memory that stays used after an unload."""


@dataclass(eq=False)
class ScriptedResident:
    """Serves the resident's API on a loopback address of its own, port 8000."""

    uuid: str = "GPU-00000000-0000-0000-0000-000000000001"
    faults: Faults = field(default_factory=Faults)
    loaded: bool = True
    trainer_mib: int = 0
    """What a test says that a training holds on the GPU."""
    other_mib: int = 0
    """What other processes hold on the GPU, whether the model is loaded or not."""
    beside: Callable[[], int] = lambda: 0
    """Return the MiB that another resident holds on the same GPU."""
    calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    hold: dict[str, Any] | None = None
    model_mib: int = _MODEL
    cap_mib: int = _MODEL
    residual_mib: int = 0
    """What it reports to keep of the GPU while it is unloaded."""
    idle_seconds: float = 0.0
    refused: int = 0
    newest_fence: int = 0
    before_unload: Callable[[], object] = lambda: None
    """Called when an unload is about to be done."""
    before_load: Callable[[], None] = lambda: None
    """Called when a load is about to be done."""
    after_call: Callable[[str, int], None] = lambda name, status: None
    """Called with the name of an order and the status of its answer, before the answer is sent."""
    address: str = ""
    """Where it listens; default: a loopback address of its own, to which the API server's proxy does not connect."""

    def __post_init__(self) -> None:
        self._server = self._listen()
        self.ip = str(self._server.server_address[0])
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _listen(self) -> ThreadingHTTPServer:
        if self.address:
            return ThreadingHTTPServer((self.address, 8000), self._handler())
        while True:  # past the addresses that another run of the tests on this machine has taken
            with contextlib.suppress(OSError):
                return ThreadingHTTPServer((next(_addresses), 8000), self._handler())

    def close(self) -> None:
        """Stop serving, also on connections that the API server's proxy keeps open."""
        self.faults.mute = True
        self._server.shutdown()
        self._server.server_close()

    def called(self, name: str) -> list[dict[str, Any]]:
        """Return the bodies of all calls of one name, oldest first."""
        return [body for _, call, body in self.calls if call == name]

    @property
    def used_mib(self) -> int:
        """Memory used on the GPU by all processes."""
        own = self.model_mib if self.loaded else self.faults.leak_mib
        return own + self.trainer_mib + self.other_mib + self.beside()

    def report(self) -> dict[str, Any]:
        """Answer `GET /api/v1/gpu`."""
        hold = self.hold and {
            "holder": self.hold["holder"],
            "fence": self.hold["fence"],
            "expires_in_seconds": max(0.0, self.hold["until"] - time.monotonic()),
            "eta": None,
        }
        return {
            "uuid": self.uuid,
            "name": "Tesla T4",
            "total_mib": _TOTAL,
            "reserved_mib": _RESERVED,
            "used_mib": self.used_mib,
            "free_mib": _TOTAL - _RESERVED - self.used_mib,
            "need_mib": self.cap_mib,
            "worker_allocated_mib": self.model_mib if self.loaded else 0,
            "worker_cap_mib": self.cap_mib,
            "in_flight": 0,
            "idle_seconds": self.idle_seconds,
            "refused": self.refused,
            "residual_mib": self.residual_mib,
            "newest_fence": self.newest_fence,
            "model_loaded": self.loaded,
            "state": "loaded" if self.loaded else "unloaded",
            "hold": hold,
        }

    def unload(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer `POST /api/v1/unload`."""
        if self.faults.unload:
            return 500, {"detail": self.faults.unload}
        if body["fence"] < self.newest_fence:
            return 409, {"detail": f"fence {body['fence']} is older than {self.newest_fence}"}
        self.before_unload()
        freed = self.model_mib - self.faults.leak_mib if self.loaded else 0
        if body["fence"] > self.newest_fence:
            self.refused = 0
        self.newest_fence, self.loaded = body["fence"], False
        self.hold = {**body, "until": time.monotonic() + body["ttl_seconds"]}
        return 200, {"success": True, "gpu_freed_mb": freed, "gpu_free_mb": self.report()["free_mib"]}

    def load(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer `POST /api/v1/load`."""
        if body["fence"] < self.newest_fence:
            return 409, {"detail": f"fence {body['fence']} has ended: the newest seen is {self.newest_fence}"}
        self.hold = None
        if self.faults.load:
            return 503, {"detail": self.faults.load}
        if self.report()["free_mib"] < self.cap_mib and not self.loaded:
            return 503, {"detail": "not enough free memory"}
        self.before_load()
        self.loaded = True
        return 200, {"success": True, "model_loaded": True}

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.calls.append((time.monotonic(), path.rsplit("/", 1)[-1], body))
        if (method, path) == ("GET", "/api/v1/gpu"):
            return (200, self.report()) if not self.faults.report else (200, json.loads(self.faults.report))
        orders = {"/api/v1/unload": self.unload, "/api/v1/load": self.load}
        if method == "POST" and path in orders:
            status, answer = orders[path](body)
            self.after_call(path.rsplit("/", 1)[-1], status)
            return status, answer
        return 404, {"detail": "no such route"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        resident = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"{}")
                if resident.faults.mute:
                    self.close_connection = True
                    return
                status, answer = resident._answer(self.command, self.path, body)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: tests read `calls`."""

        return Handler
