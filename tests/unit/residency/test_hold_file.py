"""The hold in a file: a restarted server restores it, independent of its clocks."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from residency.hold import Claim, FenceError, HoldBook, Terms
from residency.hold_file import HoldFile
from residency.hold_keeper import HoldKeeper

TERMS = Terms("job/a", 3, 60.0, "secret", datetime(2027, 1, 15, tzinfo=UTC))
WALL = 1_800_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hold.json"


def written(path: Path, now: float = 5.0, wall: float = WALL) -> None:
    book = HoldBook()
    book.place(TERMS, now)
    HoldFile(path).write(book, now, wall)


def read(path: Path, now: float, wall: float) -> HoldBook:
    book = HoldBook()
    HoldFile(path).read(book, now, wall)
    return book


def test_a_restarted_server_has_the_hold_for_the_rest_of_its_ttl(path: Path) -> None:
    written(path)
    book = read(path, now=1000.0, wall=WALL + 20)
    hold = book.active(1000.0)
    assert hold is not None
    assert (hold.terms, hold.expires_in(1000.0), hold.placed_at) == (TERMS, 40.0, 980.0)
    assert book.renew(3, "secret", 1000.0).expires_in(1000.0) == 60.0
    book.end(Claim("job/a", 3), 1000.0)


def test_a_hold_that_expired_meanwhile_has_ended_but_its_fence_counts(path: Path) -> None:
    written(path)
    book = read(path, now=1000.0, wall=WALL + 61)
    assert book.active(1000.0) is None
    assert book.expire(1000.0) is not None, "the server is to load by itself"
    with pytest.raises(FenceError, match="fence 2 has ended"):
        book.place(Terms("job/b", 2, 60.0, "key"), 1000.0)


def test_the_newest_fence_of_the_former_server_is_known(path: Path) -> None:
    written(path)
    assert HoldKeeper(HoldFile(path), lambda: 1000.0).newest_fence == 3
    path.unlink()
    assert HoldKeeper(HoldFile(path), lambda: 1000.0).newest_fence == 0


def test_a_clock_that_was_set_back_prolongs_nothing(path: Path) -> None:
    written(path)
    hold = read(path, now=0.0, wall=WALL - 86_400).active(0.0)
    assert hold is not None
    assert hold.expires_in(0.0) == 60.0


def test_a_hold_that_was_released_is_not_found(path: Path) -> None:
    book = HoldBook()
    book.place(TERMS, 5.0)
    book.end(Claim("job/a", 3), 5.0)
    HoldFile(path).write(book, 5.0, WALL)
    again = read(path, 0.0, WALL)
    assert (again.active(0.0), again.expire(0.0), again.newest) == (None, None, Claim("job/a", 3))


def test_only_its_owner_may_read_the_file(path: Path) -> None:
    written(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b'{"newest": 7}', b"\xff"])
def test_an_unreadable_file_is_logged_and_ignored(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(content)
    assert read(path, 0.0, WALL).newest is None
    assert "cannot be read" in caplog.text


def test_a_disk_that_takes_nothing_refuses_no_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path / "nowhere" / "hold.json")
    assert "a restarted server will not know of it" in caplog.text


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    book = HoldBook()
    book.place(TERMS, 0.0)
    HoldFile(None).write(book, 0.0, WALL)
    HoldFile(None).read(book, 0.0, WALL)
    assert list(tmp_path.iterdir()) == []
