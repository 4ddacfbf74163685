"""The features of the latest images are kept, those of older ones are not."""

import itertools

from sam3_server.worker.feature_cache import FeatureCache


def pixels(value: int, size: int = 12) -> bytearray:
    return bytearray([value]) * size


def test_an_image_that_was_just_asked_for_is_not_computed_again() -> None:
    numbers = itertools.count()
    features = FeatureCache(2)
    assert features.get_or_compute(2, pixels(1), lambda: next(numbers)) == (0, False)
    assert features.get_or_compute(2, pixels(2), lambda: next(numbers)) == (1, False)
    assert features.get_or_compute(2, pixels(1), lambda: next(numbers)) == (0, True)
    assert features.get_or_compute(2, pixels(3), lambda: next(numbers)) == (2, False)
    assert features.get_or_compute(2, pixels(1), lambda: next(numbers)) == (0, True), "the least recent one made room"
    assert features.get_or_compute(2, pixels(2), lambda: next(numbers)) == (3, False)


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    features = FeatureCache(2)
    features.get_or_compute(2, pixels(1), lambda: "2 x 2")
    assert features.get_or_compute(4, pixels(1), lambda: "4 x 1") == ("4 x 1", False)


def test_none_are_kept_where_none_may_be_and_after_they_were_dropped() -> None:
    none, some = FeatureCache(0), FeatureCache(1)
    for features in (none, some):
        features.get_or_compute(2, pixels(1), lambda: "features")
    some.clear()
    for features in (none, some):
        assert features.get_or_compute(2, pixels(1), lambda: "again") == ("again", False)
