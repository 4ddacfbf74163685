from pathlib import Path

import pytest

from yolo_trainer.text import EncodingError, plain, read_utf8


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("names: [é]\n", encoding="utf-8-sig")

    assert read_utf8(tmp_path / "f") == "names: [é]\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a\nb é".encode("latin-1"), "is not UTF-8 (byte 0xe9 in line 2): save it as UTF-8"),
        ("a".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("names: [é]".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("names".encode("utf-16-be"), "is not a text file, or is UTF-16: save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "f").write_bytes(content)

    with pytest.raises(EncodingError) as caught:
        read_utf8(tmp_path / "f")

    assert str(caught.value) == sentence


def test_a_librarys_message_becomes_one_line_without_colours() -> None:
    assert plain("\x1b[34m\x1b[1mtrain: \x1b[0mNo labels\n  found\x1b[K") == "train: No labels found"
