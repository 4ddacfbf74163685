"""The features of the latest images are kept, those of older ones are not."""

import itertools

from sam3_server.worker.feature_cache import Features


def pixels(value: int, size: int = 12) -> bytearray:
    return bytearray([value]) * size


def test_an_image_that_was_just_asked_for_is_not_computed_again() -> None:
    numbers = itertools.count()
    features = Features(2)
    assert features.of(2, pixels(1), lambda: next(numbers)) == (0, False)
    assert features.of(2, pixels(2), lambda: next(numbers)) == (1, False)
    assert features.of(2, pixels(1), lambda: next(numbers)) == (0, True)
    assert features.of(2, pixels(3), lambda: next(numbers)) == (2, False)
    assert features.of(2, pixels(1), lambda: next(numbers)) == (0, True), "the least recent one made room"
    assert features.of(2, pixels(2), lambda: next(numbers)) == (3, False)


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    features = Features(2)
    features.of(2, pixels(1), lambda: "2 x 2")
    assert features.of(4, pixels(1), lambda: "4 x 1") == ("4 x 1", False)


def test_none_are_kept_where_none_may_be_and_after_they_were_dropped() -> None:
    none, some = Features(0), Features(1)
    for features in (none, some):
        features.of(2, pixels(1), lambda: "features")
    some.drop()
    for features in (none, some):
        assert features.of(2, pixels(1), lambda: "again") == ("again", False)
