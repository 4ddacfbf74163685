"""The audit log is read while the API server writes it."""

import json
from pathlib import Path

from devcluster import audit


def entry(name: str) -> str:
    reference = {"resource": "pods", "name": name, "namespace": "vision"}
    return json.dumps({"user": {"username": "relay"}, "verb": "get", "objectRef": reference, "requestURI": "/"}) + "\n"


def test_a_line_that_is_half_written_counts_to_what_was_before(tmp_path: Path) -> None:
    log, half = tmp_path / audit.LOG, len(entry("one")) + 30
    text = entry("one") + entry("two") + entry("three")
    log.write_text(text[:half])
    before = audit.size(tmp_path)
    log.write_text(text)
    assert [call.name for call in audit.calls(tmp_path, "relay", before)] == ["three"]


def test_calls_after_a_whole_line_are_all_read(tmp_path: Path) -> None:
    log = tmp_path / audit.LOG
    log.write_text(entry("one"))
    before = audit.size(tmp_path)
    log.write_text(entry("one") + entry("two") + entry("three")[:30])
    assert [call.name for call in audit.calls(tmp_path, "relay", before)] == ["two"]
    assert [call.name for call in audit.calls(tmp_path, "relay")] == ["one", "two"]
