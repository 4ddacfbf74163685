"""Prometheus metrics: those of a resident, and what is SAM3's own."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.metrics import Metrics as ResidentMetrics
from sam3_server.worker.protocol import Segmented


class HasStandby(Protocol):
    """What is read at each scrape."""

    @property
    def standby_ready(self) -> bool:
        """Whether a standby is prepared."""
        ...

    @property
    def standby_weights_mib(self) -> int:
        """Weights that the standby holds resident in host memory."""
        ...


class Metrics(ResidentMetrics):
    """One server's metrics."""

    def __init__(self) -> None:
        super().__init__("sam3", "worker")
        self.worker_peak = self.gauge("worker_peak_mib", "Most GPU memory that the current worker has held")
        self.worker_host_peak = self.gauge("worker_host_peak_mib", "Most host memory that the current worker has held")
        self.prompts = self.counter("prompts", "Prompts that the model computed")
        self.known_images = self.counter("known_images", "Requests about an image whose features were cached")
        self.degraded = self.counter("degraded", "Requests answered from the CPU while the GPU was lent out")

    def watch_standby(self, source: HasStandby) -> None:
        """Report a server's standby at each scrape."""
        self.registry.register(_StandbyCollector(source))

    def record_answer(self, answer: Segmented) -> None:
        """Record what the worker reported with an answer."""
        self.worker_peak.set(answer.peak_mib)
        self.worker_host_peak.set(answer.host_peak_mib)
        self.known_images.inc(answer.cached)


class _StandbyCollector(Collector):
    def __init__(self, source: HasStandby) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        standby = float(self._source.standby_ready)
        yield GaugeMetricFamily("sam3_standby_ready", "Whether a standby is prepared", value=standby)
        weights = self._source.standby_weights_mib
        text = "MiB of weights that the standby holds resident in host memory"
        yield GaugeMetricFamily("sam3_standby_weights_mib", text, value=weights)
