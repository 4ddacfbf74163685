"""The course of a training, kept to a size that every job's status has room for."""

from collections.abc import Mapping, Sequence

from gpu_relay.api.v1alpha1 import CurvePoint, Progress

_POINTS = 60
_LINES = 6
_LONGEST_NAME = 32


def extended(curve: Sequence[CurvePoint], progress: Progress, losses: Mapping[str, float]) -> list[CurvePoint]:
    """Return the course with the epoch that has just been finished, if it is one that is kept.

    Of `progress.epochs` about sixty are kept, evenly, and the last. A training that goes on from an older checkpoint
    goes through epochs again: those are forgotten.
    """
    epoch = progress.epoch
    if epoch == 0 or not (progress.metrics or losses) or any(point.epoch == epoch for point in curve[-1:]):
        return list(curve)
    kept = [point for point in curve if point.epoch < epoch]
    stride = -(-progress.epochs // _POINTS)
    before = kept[-1].epoch if kept else 0
    if epoch // stride == before // stride and epoch != progress.epochs:
        return kept
    return [*kept, CurvePoint(epoch=epoch, metrics=_few(progress.metrics), losses=_few(losses))]


def _few(figures: Mapping[str, float]) -> dict[str, float]:
    return {name[:_LONGEST_NAME]: value for name, value in list(figures.items())[:_LINES]}
