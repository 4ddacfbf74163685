"""The training curve of a job, limited to a size that fits into its status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpu_relay.api.v1alpha1 import Curve, Progress

_POINTS = 60
_LINES = 6
_LONGEST_NAME = 32
_UNKNOWN = "-"


@dataclass(frozen=True)
class Point:
    """A finished epoch: its number, metrics of its validation and mean losses of its training."""

    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)


def extended(curve: Curve | None, progress: Progress, losses: Mapping[str, float]) -> Curve | None:
    """Return the curve with the epoch that has just finished, if it is one that is kept.

    About sixty of `progress.epochs` are kept, evenly spaced, and the last. A training that resumes from an older
    checkpoint repeats epochs: their earlier points are removed.
    """
    epoch, seen = progress.epoch, points(curve)
    if epoch == 0 or not (progress.metrics or losses) or any(point.epoch == epoch for point in seen[-1:]):
        return curve
    kept = [point for point in seen if point.epoch < epoch]
    stride = -(-progress.epochs // _POINTS)
    before = kept[-1].epoch if kept else 0
    if epoch // stride == before // stride and epoch != progress.epochs:
        return written(kept)
    return written([*kept, Point(epoch, _few(progress.metrics), _few(losses))])


def points(curve: Curve | None) -> list[Point]:
    """Read a curve, oldest epoch first, without values that are not numbers."""
    if curve is None:
        return []
    epochs = [int(text) if text.isdecimal() else 0 for text in curve.epochs.split()]
    metrics, losses = _columns(curve.metrics, len(epochs)), _columns(curve.losses, len(epochs))
    return [Point(epoch, metrics[at], losses[at]) for at, epoch in enumerate(epochs) if epoch > 0]


def written(curve: Sequence[Point]) -> Curve | None:
    """Return a curve as the status has it; None without an epoch."""
    if not curve:
        return None
    return Curve(
        epochs=" ".join(str(point.epoch) for point in curve),
        metrics=_rows([point.metrics for point in curve]),
        losses=_rows([point.losses for point in curve]),
    )


def _columns(rows: Mapping[str, str], length: int) -> list[dict[str, float]]:
    columns: list[dict[str, float]] = [{} for _ in range(length)]
    for name, row in rows.items():
        for column, text in zip(columns, row.split(), strict=False):
            try:
                column[name] = float(text)
            except ValueError:
                continue
    return columns


def _rows(columns: Sequence[Mapping[str, float]]) -> dict[str, str]:
    names = dict.fromkeys(name for column in columns for name in column)
    return {
        name: " ".join(f"{column[name]:.4g}" if name in column else _UNKNOWN for column in columns) for name in names
    }


def _few(figures: Mapping[str, float]) -> dict[str, float]:
    return {name[:_LONGEST_NAME]: value for name, value in list(figures.items())[:_LINES]}
