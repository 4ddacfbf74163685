# SPDX-License-Identifier: AGPL-3.0-only
"""`GET /progress` (JSON), `GET /metrics` (Prometheus) and `GET /predictions.jpg`, served by threads of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_trainer.training.progress import Progress, Stage

MIB = 2**20
Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""


@dataclass(frozen=True)
class Sources:
    """Where the figures come from; each is called at each request, from the server's threads."""

    progress: Callable[[], Progress]
    gpu_memory_mib: Callable[[], int]
    peak_memory_mib: Callable[[], int]
    hold_renewals: Callable[[], tuple[int, int]]
    """Accepted and failed ones."""
    preview: Callable[[], bytes | None]
    """The model's present predictions on validation data (JPEG)."""


class ProgressServer:
    """The trainer's HTTP server."""

    def __init__(self, address: str, port: int, sources: Sources) -> None:
        """Listen.

        Raises:
            OSError: the address is not ours, or the port is taken.

        """
        self._server = ThreadingHTTPServer((address, port), _handler(sources))
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from a background thread until the process ends or `stop` is called."""
        threading.Thread(target=self._server.serve_forever, name="progress-server", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()


def progress_json(sources: Sources) -> dict[str, Any]:
    """Return the answer of `GET /progress`."""
    return {**sources.progress().to_json(), "gpu_memory_mib": sources.gpu_memory_mib()}


class _Metrics(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        now = self._sources.progress()
        stage = GaugeMetricFamily("gpu_relay_training_stage", "1 for the present stage.", labels=["stage"])
        for name in Stage:
            stage.add_metric([name.value], float(name == now.stage))
        yield stage
        yield GaugeMetricFamily("gpu_relay_training_epoch", "Finished epochs.", value=now.epoch)
        yield GaugeMetricFamily("gpu_relay_training_epochs", "Epochs in all.", value=now.epochs)
        yield _family("gpu_relay_training_metric", "The latest validation's figures.", "metric", now.metrics)
        yield _family("gpu_relay_training_loss", "Mean losses of the present epoch.", "loss", now.losses)
        if now.images_per_second is not None:
            yield GaugeMetricFamily(
                "gpu_relay_training_images_per_second", "Training speed.", value=now.images_per_second
            )
        if now.eta_seconds is not None:
            yield GaugeMetricFamily("gpu_relay_training_eta_seconds", "Seconds left.", value=now.eta_seconds)
        yield GaugeMetricFamily(
            "gpu_relay_training_gpu_memory_bytes",
            "GPU memory that this process holds.",
            value=self._sources.gpu_memory_mib() * MIB,
        )
        yield GaugeMetricFamily(
            "gpu_relay_training_peak_gpu_memory_bytes",
            "The most GPU memory that this process has held.",
            value=self._sources.peak_memory_mib() * MIB,
        )
        renewals = CounterMetricFamily(
            "gpu_relay_training_hold_renewals", "Renewals of the resident's hold.", labels=["outcome"]
        )
        for outcome, count in zip(("renewed", "failed"), self._sources.hold_renewals(), strict=True):
            renewals.add_metric([outcome], count)
        yield renewals


def _family(name: str, text: str, label: str, figures: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in figures.items():
        family.add_metric([key], value)
    return family


def _handler(sources: Sources) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(sources))

    def preview() -> Answer:
        found = sources.preview()
        if found is None:
            return HTTPStatus.NOT_FOUND, "text/plain", b"no image yet: the first validation draws one\n"
        return HTTPStatus.OK, "image/jpeg", found

    routes: dict[str, Callable[[], Answer]] = {
        "/progress": lambda: (HTTPStatus.OK, "application/json", json.dumps(progress_json(sources)).encode()),
        "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/predictions.jpg": preview,
    }
    other: Answer = (HTTPStatus.NOT_FOUND, "text/plain", f"GET {', '.join(routes)}\n".encode())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*routes.get(self.path, lambda: other)())

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the log for the training: the operator polls every few seconds."""

    return Handler
