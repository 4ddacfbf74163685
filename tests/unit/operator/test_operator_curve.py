"""A training's course in its status: even, bounded, and true after a training that went back."""

from itertools import pairwise

import pytest

from gpu_relay.api.v1alpha1 import CurvePoint, Progress, YoloTrainingJobStatus
from gpu_relay.domain.curve import extended


def progress(epoch: int, epochs: int, **metrics: float) -> Progress:
    return Progress(epoch=epoch, epochs=epochs, summary="", metrics=metrics or {"mAP50": 0.5})


def trained(epochs: int, seen: range) -> list[CurvePoint]:
    curve: list[CurvePoint] = []
    for epoch in seen:
        curve = extended(curve, progress(epoch, epochs), {"box": 1.0})
    return curve


def test_a_short_training_is_kept_whole() -> None:
    assert [point.epoch for point in trained(20, range(21))] == list(range(1, 21))


@pytest.mark.parametrize("epochs", [60, 61, 100, 119, 1000, 99_999])
def test_a_long_one_evenly_and_its_end(epochs: int) -> None:
    curve = trained(epochs, range(epochs + 1))
    assert 25 < len(curve) <= 62
    assert curve[-1].epoch == epochs
    steps = {after.epoch - before.epoch for before, after in pairwise(curve[:-1])}
    assert len(steps) == 1


def test_what_was_not_seen_is_not_made_up() -> None:
    assert [point.epoch for point in trained(100, range(0, 101, 7))] == list(range(7, 101, 7))


def test_looking_again_changes_nothing() -> None:
    curve = trained(10, range(6))
    assert extended(curve, progress(5, 10), {"box": 9.0}) == curve
    assert extended(curve, progress(0, 10), {}) == curve, "a new attempt that has not read its checkpoint yet"


def test_a_training_that_went_back_forgets_what_it_repeats() -> None:
    curve = trained(10, range(9))
    assert [point.epoch for point in extended(curve, progress(4, 10), {})] == [1, 2, 3, 4]


def test_a_trainer_that_says_too_much_is_cut_short() -> None:
    much = {f"{n}-" + "x" * 64: 1.0 for n in range(32)}
    curve: list[CurvePoint] = []
    for epoch in range(1, 1001):
        curve = extended(curve, progress(epoch, 1000, **much), much)
    assert len(YoloTrainingJobStatus(curve=curve).model_dump_json()) < 50_000
