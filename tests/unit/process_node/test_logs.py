"""Which part of a log is shown."""

from pathlib import Path

import pytest

from devcluster.process_node.logs import tail_offset


@pytest.mark.parametrize(
    ("lines", "shown"),
    [(None, "a\nb\nc"), ("-1", "a\nb\nc"), ("0", ""), ("1", "c"), ("2", "b\nc"), ("9", "a\nb\nc")],
)
def test_tails(tmp_path: Path, lines: str | None, shown: str) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc")
    assert log.read_text()[tail_offset(log, lines) :] == shown
