"""The curve of a training in its status: even, bounded, and correct after a training restarts at an earlier epoch."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.api.v1alpha1 import Curve, Progress, YoloTrainingJobStatus
from gpu_relay.domain.job.metrics_curve import Point, extended, points, written


def progress(epoch: int, epochs: int, **metrics: float) -> Progress:
    return Progress(epoch=epoch, epochs=epochs, summary="", metrics=metrics or {"mAP50": 0.5})


def trained(epochs: int, seen: range) -> Curve | None:
    curve = None
    for epoch in seen:
        curve = extended(curve, progress(epoch, epochs), {"box": 1.0})
    return curve


def epochs_of(curve: Curve | None) -> list[int]:
    return [point.epoch for point in points(curve)]


@given(st.lists(st.integers(1, 500), unique=True, min_size=1).map(sorted), st.data())
def test_what_is_written_can_be_read(epochs: list[int], data: st.DataObject) -> None:
    figures = st.dictionaries(st.sampled_from(["mAP50", "box", "cls"]), st.sampled_from([0.0, 0.25, 1e-7, 123.5]))
    course = [Point(epoch, data.draw(figures), data.draw(figures)) for epoch in epochs]
    assert points(written(course)) == course


def test_it_is_a_line_for_each_figure() -> None:
    course = [Point(1, {"mAP50": 0.12345}), Point(2, {"mAP50": 0.5}, {"box": 2.0})]
    assert written(course) == Curve(epochs="1 2", metrics={"mAP50": "0.1235 0.5"}, losses={"box": "- 2"})
    assert written([]) is None


def test_what_is_no_number_is_left_out() -> None:
    curve = Curve(epochs="1 two 3", metrics={"mAP50": "0.1 0.2 x", "short": "1"}, losses={"box": ""})
    assert points(curve) == [Point(1, {"mAP50": 0.1, "short": 1.0}), Point(3)]


def test_a_short_training_is_kept_whole() -> None:
    assert epochs_of(trained(20, range(21))) == list(range(1, 21))


@pytest.mark.parametrize("epochs", [60, 61, 100, 119, 1000, 4321])
def test_a_long_one_evenly_and_its_end(epochs: int) -> None:
    kept = epochs_of(trained(epochs, range(epochs + 1)))
    assert 25 < len(kept) <= 62
    assert kept[-1] == epochs
    steps = {after - before for before, after in pairwise(kept[:-1])}
    assert len(steps) == 1


def test_what_was_not_seen_is_not_made_up() -> None:
    assert epochs_of(trained(100, range(0, 101, 7))) == list(range(7, 101, 7))


def test_looking_again_changes_nothing() -> None:
    curve = trained(10, range(6))
    assert extended(curve, progress(5, 10), {"box": 9.0}) == curve
    assert extended(curve, progress(0, 10), {}) == curve, "a new attempt that has not read its checkpoint yet"


def test_a_training_that_went_back_forgets_what_it_repeats() -> None:
    curve = trained(10, range(9))
    assert epochs_of(extended(curve, progress(4, 10), {})) == [1, 2, 3, 4]


def test_a_long_curve_is_truncated() -> None:
    much = {f"{n}-" + "x" * 64: 1.0 for n in range(32)}
    curve = None
    for epoch in range(1, 1001):
        curve = extended(curve, progress(epoch, 1000, **much), much)
    assert len(YoloTrainingJobStatus(curve=curve).model_dump_json()) < 50_000
