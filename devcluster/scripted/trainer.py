"""A trainer's `/progress` that says what a test wants, on a loopback address of its own."""

import itertools
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_addresses = itertools.count(2)


class ScriptedTrainer:
    """Serves `/progress` on port 8080; `epoch` and `eta_seconds` may be changed while it serves."""

    def __init__(self, *, epochs: int = 10, eta_seconds: float | None = None) -> None:
        self.epoch, self.epochs, self.eta_seconds = 0, epochs, eta_seconds
        self.metrics: dict[str, float] = {}
        self.stage = "training"
        self.each_ask_is_an_epoch = False
        self.asked: list[float] = []
        """When it was asked, by the monotonic clock."""
        self._server = self._bind()
        self.ip = str(self._server.server_address[0])
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _bind(self) -> ThreadingHTTPServer:
        """Take the first address whose port is free: other test runs on this machine use some, too."""
        for last in itertools.islice(_addresses, 100):
            with suppress(OSError):
                return ThreadingHTTPServer((f"127.9.0.{last}", 8080), self._handler())
        raise OSError("no loopback address has port 8080 free")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def progress(self) -> dict[str, Any]:
        """Answer `GET /progress`."""
        self.asked.append(time.monotonic())
        if self.each_ask_is_an_epoch:
            self.epoch += 1
        return {
            "stage": self.stage,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "metrics": self.metrics,
            "eta_seconds": self.eta_seconds,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        trainer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                raw = json.dumps(trainer.progress()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: tests read `asked`."""

        return Handler
