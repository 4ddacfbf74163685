import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_trainer.errors import Reason
from yolo_trainer.termination import EXIT_CODES, LIMIT_BYTES, TerminationMessage, write_termination_message

CONTRACTS = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text(encoding="utf-8")


def test_reasons_and_exit_codes_are_the_contracts() -> None:
    table = re.findall(r"^\| (\w+) \| (\d+) \|", CONTRACTS.split("## The termination message")[1], re.MULTILINE)

    assert {name: int(code) for name, code in table} == {str(reason): code for reason, code in EXIT_CODES.items()}


def test_the_fields_are_the_contracts() -> None:
    section = CONTRACTS.split("## The termination message")[1]
    example = json.loads(section.split("```json")[1].split("```")[0])

    assert json.loads(TerminationMessage(Reason.COMPLETED, "").encode()).keys() == example.keys()


_paths = st.dictionaries(st.text(max_size=8), st.text(max_size=3000), max_size=4)


@given(st.text(max_size=20_000), st.dictionaries(st.text(max_size=8), st.floats()), _paths, _paths, _paths)
def test_it_is_always_valid_json_within_the_limit(
    message: str, metrics: dict[str, float], weights: dict[str, str], exports: dict[str, str], errors: dict[str, str]
) -> None:
    report = TerminationMessage(Reason.ERROR, message, 3, 10, metrics, weights, exports, 512, export_errors=errors)

    encoded = report.encode()

    assert len(encoded) <= LIMIT_BYTES
    assert json.loads(encoded)["reason"] == "Error"
    assert b"NaN" not in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", encoded)


def test_a_message_has_no_colours() -> None:
    report = TerminationMessage(Reason.ERROR, "ValueError: \x1b[34m\x1b[1mtrain: \x1b[0mno labels")

    assert json.loads(report.encode())["message"] == "ValueError: train: no labels"


def test_a_short_message_is_kept_whole() -> None:
    report = TerminationMessage(
        Reason.COMPLETED, "10 of 10 epochs", 10, 10, {"mAP50": 0.9}, {"best": "/o/best.pt"}, {}, 10240, 8
    )

    assert json.loads(report.encode()) == {
        "reason": "Completed",
        "message": "10 of 10 epochs",
        "epoch": 10,
        "epochs": 10,
        "metrics": {"mAP50": 0.9},
        "weights": {"best": "/o/best.pt"},
        "exports": {},
        "exportErrors": {},
        "peakMemoryMiB": 10240,
        "batch": 8,
    }


def test_a_long_message_keeps_its_beginning_and_the_paths() -> None:
    report = TerminationMessage(Reason.DATASET_INVALID, "first.txt: " + "é" * 10_000, weights={"best": "/o/best.pt"})

    decoded = json.loads(report.encode())

    assert decoded["message"].startswith("first.txt: é")
    assert decoded["message"].endswith("…")
    assert decoded["weights"] == {"best": "/o/best.pt"}
    assert len(report.encode()) > LIMIT_BYTES / 2


def test_a_file_name_that_is_not_utf8_is_replaced() -> None:
    name = b"\xff.png".decode(errors="surrogateescape")

    assert json.loads(TerminationMessage(Reason.DATASET_INVALID, name).encode())["message"] == "?.png"


def test_it_is_written_for_the_kubelet(tmp_path: Path) -> None:
    write_termination_message(TerminationMessage(Reason.WRONG_GPU, "another"), tmp_path / "termination-log")

    assert json.loads((tmp_path / "termination-log").read_bytes())["reason"] == "WrongGpu"


def test_by_hand_no_file_is_made_for_a_kubelet_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "termination-log"
    monkeypatch.setattr("yolo_trainer.termination.DEFAULT_TERMINATION_MESSAGE_PATH", place)
    report = TerminationMessage(Reason.COMPLETED, "done")

    write_termination_message(report, place)
    assert not place.exists()

    place.touch()
    write_termination_message(report, place)
    assert place.read_bytes() == report.encode()


def test_where_it_cannot_be_written_the_log_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write_termination_message(
            TerminationMessage(Reason.ERROR, "the cause"), tmp_path / "missing" / "termination-log"
        )

    assert "the cause" in caplog.text
