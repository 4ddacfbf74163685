"""The GPUs for programs: what `kubectl relay gpus -o json` prints."""

from typing import Any

from gpu_relay.overview.gpus import gpus_of, stranded
from gpu_relay.overview.snapshot import ClusterSnapshot


def gpu_report(snapshot: ClusterSnapshot) -> dict[str, Any]:
    """Return every GPU, the jobs that fit none, and what could not be read."""
    return {
        "time": snapshot.now,
        "gpus": gpus_of(snapshot),
        "noGpuSuits": stranded(snapshot),
        "unknown": snapshot.unknown,
    }


def is_same(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Return True where two reports differ in nothing but their time."""
    return other is not None and {**one, "time": None} == {**other, "time": None}
