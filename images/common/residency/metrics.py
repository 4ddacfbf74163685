"""Prometheus metrics of a resident."""

from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from residency.hold import Hold
from residency.state import State

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
    def allocated_mib(self) -> int:
        """GPU memory that the engine holds."""
        ...

    def now(self) -> float:
        """Return the seconds of the clock that holds are counted on."""
        ...


class Metrics:
    """One server's metrics, in a registry of their own. Their names begin with the server's `prefix`."""

    def __init__(self, prefix: str, engine: str) -> None:
        """`engine` is what the server calls its engine in names, such as `worker`."""
        without_created: Callable[[], None] = disable_created_metrics  # the library gives it no types
        without_created()
        self.registry = CollectorRegistry()
        self._prefix = prefix
        self._engine = engine
        self.requests = self.counter("requests", "HTTP requests answered", ["route", "status"])
        self.request_seconds = self.histogram("request_seconds", "Seconds from request to answer", ["route"])
        self.in_flight = self.gauge("requests_in_flight", "HTTP requests being answered")
        self.refused = self.counter("refused", "Inference requests refused")
        self.load_seconds = self.histogram("load_seconds", "Seconds to load the model, probe included")
        self.load_failures = self.counter(
            "load_failures", "Loads that failed, for lack of memory or by error", ["reason"]
        )
        self.unload_seconds = self.histogram(
            "unload_seconds", "Seconds to drain and unload, until memory is measured free"
        )
        self.free_before = self.gauge("unload_free_before_mib", "GPU memory free before the last unload")
        self.free_after = self.gauge("unload_free_after_mib", "GPU memory free after the last unload")
        self.residual = self.gauge(
            "unload_residual_mib", f"What the {engine} held and was not free after the last unload"
        )
        self.abandoned = self.counter("abandoned", "Requests whose client disconnected before the answer")
        self.engine_deaths = self.counter(f"{engine}_deaths", f"{engine.capitalize()}s that exited unexpectedly")

    def histogram(self, name: str, text: str, labels: Iterable[str] = ()) -> Histogram:
        """Add a histogram of seconds."""
        return Histogram(f"{self._prefix}_{name}", text, labels, buckets=SECONDS, registry=self.registry)

    def counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        """Add a counter."""
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str) -> Gauge:
        """Add a gauge."""
        return Gauge(f"{self._prefix}_{name}", text, registry=self.registry)

    def watch(self, source: Watched) -> None:
        """Report a server's state and hold at each scrape."""
        self.registry.register(_StateCollector(self._prefix, self._engine, source))

    def record_unload(self, before_mib: int, after_mib: int, held_mib: int) -> None:
        """Record the free memory before and after an unload of an engine that held so much."""
        self.free_before.set(before_mib)
        self.free_after.set(after_mib)
        self.residual.set(max(0, before_mib + held_mib - after_mib))

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    def __init__(self, prefix: str, engine: str, source: Watched) -> None:
        self._prefix = prefix
        self._engine = engine
        self._source = source

    def collect(self) -> Iterable[Metric]:
        state = GaugeMetricFamily(f"{self._prefix}_state", "1 for the current state", labels=["state"])
        for each in State:
            state.add_metric([each.value], float(each is self._source.state))
        yield state
        loaded = float(self._source.state is State.LOADED)
        yield self._gauge("model_loaded", "Whether the model is on the device", loaded)
        served = self._source.serving_seconds
        text = "Seconds in which the model was on the device and answered"
        yield CounterMetricFamily(f"{self._prefix}_serving_seconds", text, value=served)
        held = self._source.allocated_mib
        yield self._gauge(f"{self._engine}_allocated_mib", f"GPU memory that the {self._engine} holds", held)
        hold = self._source.hold
        age = self._source.now() - hold.placed_at if hold else 0.0
        yield self._gauge("hold_age_seconds", "Seconds since the hold was placed, 0 without one", age)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", text, value=value)
