"""The results that were used last are kept, older ones are not."""

import itertools

from sam3_server.worker.recent import Recent, image_key


def test_a_result_that_was_just_used_is_not_computed_again() -> None:
    numbers = itertools.count()
    recent: Recent[int] = Recent(2)
    assert recent.get_or_compute(b"1", lambda: next(numbers)) == (0, False)
    assert recent.get_or_compute(b"2", lambda: next(numbers)) == (1, False)
    assert recent.get_or_compute(b"1", lambda: next(numbers)) == (0, True)
    assert recent.get_or_compute(b"3", lambda: next(numbers)) == (2, False)
    assert recent.get_or_compute(b"1", lambda: next(numbers)) == (0, True), "the least recent one made room"
    assert recent.get_or_compute(b"2", lambda: next(numbers)) == (3, False)


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    assert image_key(2, bytearray(12)) == image_key(2, bytearray(12))
    assert image_key(2, bytearray(12)) != image_key(4, bytearray(12))
    assert image_key(2, bytearray(12)) != image_key(2, bytearray([1]) * 12)


def test_none_are_kept_where_none_may_be_and_after_they_were_dropped() -> None:
    none: Recent[str] = Recent(0)
    some: Recent[str] = Recent(1)
    for recent in (none, some):
        recent.get_or_compute(b"1", lambda: "result")
    some.clear()
    for recent in (none, some):
        assert recent.get_or_compute(b"1", lambda: "again") == ("again", False)
