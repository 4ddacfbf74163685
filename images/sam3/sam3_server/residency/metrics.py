"""Prometheus metrics."""

from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sam3_server.residency.hold import Hold
from sam3_server.residency.state import State
from sam3_server.worker.protocol import Segmented

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Watched(Protocol):
    """What is read at each scrape."""

    @property
    def state(self) -> State:
        """The model's state."""
        ...

    @property
    def serving_seconds(self) -> float:
        """Seconds in which the model answered."""
        ...

    @property
    def hold(self) -> Hold | None:
        """The hold in force."""
        ...

    @property
    def standby_ready(self) -> bool:
        """Whether a standby is prepared."""
        ...

    @property
    def standby_weights_mib(self) -> int:
        """Weights that the standby holds resident in host memory."""
        ...

    @property
    def worker_allocated_mib(self) -> int:
        """GPU memory that the worker holds."""
        ...

    def now(self) -> float:
        """Return the seconds of the clock that holds are counted on."""
        ...


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        without_created: Callable[[], None] = disable_created_metrics  # the library gives it no types
        without_created()
        self.registry = CollectorRegistry()

        def histogram(name: str, text: str, labels: Iterable[str] = ()) -> Histogram:
            return Histogram(name, text, labels, buckets=SECONDS, registry=self.registry)

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=self.registry)

        self.requests = counter("sam3_requests", "HTTP requests answered", ["route", "status"])
        self.request_seconds = histogram("sam3_request_seconds", "Seconds from request to answer", ["route"])
        self.in_flight = Gauge("sam3_requests_in_flight", "HTTP requests being answered", registry=self.registry)
        self.refused = counter("sam3_refused", "Inference requests refused")
        self.load_seconds = histogram("sam3_load_seconds", "Seconds to load the model, probe included")
        self.load_failures = counter(
            "sam3_load_failures", "Loads that failed, for lack of memory or by error", ["reason"]
        )
        self.unload_seconds = histogram(
            "sam3_unload_seconds", "Seconds to drain and unload, until memory is measured free"
        )
        self.worker_peak = gauge("sam3_worker_peak_mib", "Most GPU memory that the current worker has held")
        self.worker_host_peak = gauge("sam3_worker_host_peak_mib", "Most host memory that the current worker has held")
        self.free_before = gauge("sam3_unload_free_before_mib", "GPU memory free before the last unload")
        self.free_after = gauge("sam3_unload_free_after_mib", "GPU memory free after the last unload")
        self.residual = gauge("sam3_unload_residual_mib", "What the worker held and was not free after the last unload")
        self.abandoned = counter("sam3_abandoned", "Requests whose client disconnected before the answer")
        self.prompts = counter("sam3_prompts", "Prompts that the model computed")
        self.known_images = counter("sam3_known_images", "Requests about an image whose features were cached")
        self.degraded = counter("sam3_degraded", "Requests answered from the CPU while the GPU was lent out")
        self.worker_deaths = counter("sam3_worker_deaths", "Workers that exited unexpectedly")

    def watch(self, source: Watched) -> None:
        """Report a server's state and hold at each scrape."""
        self.registry.register(_StateCollector(source))

    def record_answer(self, answer: Segmented) -> None:
        """Record what the worker reported with an answer."""
        self.worker_peak.set(answer.peak_mib)
        self.worker_host_peak.set(answer.host_peak_mib)
        self.known_images.inc(answer.cached)

    def record_unload(self, before_mib: int, after_mib: int, held_mib: int) -> None:
        """Record the free memory before and after an unload of a worker that held so much."""
        self.free_before.set(before_mib)
        self.free_after.set(after_mib)
        self.residual.set(max(0, before_mib + held_mib - after_mib))

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    def __init__(self, source: Watched) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        state = GaugeMetricFamily("sam3_state", "1 for the current state", labels=["state"])
        for each in State:
            state.add_metric([each.value], float(each is self._source.state))
        yield state
        loaded = float(self._source.state is State.LOADED)
        yield GaugeMetricFamily("sam3_model_loaded", "Whether the model is on the device", value=loaded)
        served = self._source.serving_seconds
        text = "Seconds in which the model was on the device and answered"
        yield CounterMetricFamily("sam3_serving_seconds", text, value=served)
        standby = float(self._source.standby_ready)
        yield GaugeMetricFamily("sam3_standby_ready", "Whether a standby is prepared", value=standby)
        weights = self._source.standby_weights_mib
        text = "MiB of weights that the standby holds resident in host memory"
        yield GaugeMetricFamily("sam3_standby_weights_mib", text, value=weights)
        held = self._source.worker_allocated_mib
        yield GaugeMetricFamily("sam3_worker_allocated_mib", "GPU memory that the worker holds", value=held)
        hold = self._source.hold
        age = self._source.now() - hold.placed_at if hold else 0.0
        yield GaugeMetricFamily("sam3_hold_age_seconds", "Seconds since the hold was placed, 0 without one", value=age)
