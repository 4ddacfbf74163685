"""Every metric that the three programs export, read from what they really expose."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from gpu_relay.observability import metrics as operator_metrics
from residency.hold import Hold
from residency.state import State
from sam3_server.serving.metrics import Metrics
from yolo_trainer.training.progress import ProgressTracker, Stage
from yolo_trainer.training.progress_server import ProgressServer, Sources


@dataclass(frozen=True)
class Exported:
    """What Prometheus stores under one name."""

    labels: frozenset[str]
    words: str
    """Its documentation, and every value that a label was seen to have."""


def exported() -> dict[str, Exported]:
    """Return everything by name: `_total`, `_bucket`, `_sum` and `_count` included."""
    found: dict[str, Exported] = {}
    for text in (_operator(), _resident(), _trainer()):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                before = found.get(sample.name, Exported(frozenset(), family.documentation))
                words = " ".join((before.words, *sample.labels.values()))
                found[sample.name] = Exported(before.labels | sample.labels.keys(), words)
    return found


def _operator() -> str:
    return _exposed(each for each in vars(operator_metrics).values() if isinstance(each, MetricWrapperBase))


def _resident() -> str:
    metrics = Metrics()
    metrics.watch(_Unloaded())
    metrics.watch_standby(_Unloaded())
    own = _exposed(each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))
    return own + metrics.exposition().decode()


class _Unloaded:
    """A resident without a model, as far as its metrics ask."""

    state = State.UNLOADED
    hold: Hold | None = None
    standby_ready = False
    serving_seconds = 0.0
    standby_weights_mib = 0
    allocated_mib = 0

    def now(self) -> float:
        """Return a moment."""
        return 0.0


def _trainer() -> str:
    tracker = ProgressTracker()
    tracker.plan(3)
    tracker.begin_epoch(1)
    tracker.end_batch(8, {"box": 1.25})
    tracker.enter(Stage.VALIDATING)
    tracker.end_epoch({"mAP50": 0.5})
    tracker.end_batch(8, {"box": 1.25})
    sources = Sources(tracker.snapshot, lambda: 1, lambda: 2, lambda: (5, 1), lambda: None)
    server = ProgressServer("127.0.0.1", 0, sources)
    server.start()
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/metrics", trust_env=False).raise_for_status().text
    finally:
        server.stop()


def _exposed(metrics: Iterable[MetricWrapperBase]) -> str:
    """Expose metrics by themselves; those with labels have no series before one is asked for."""
    registry = CollectorRegistry()
    for metric in metrics:
        names = metric._labelnames  # no public API returns them
        if names:
            metric.labels(*("x" for _ in names))
        registry.register(metric)
    return generate_latest(registry).decode()
