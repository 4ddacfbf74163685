import logging
from pathlib import Path

import pytest

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.training import offline


def test_no_temporary_folder_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("yolo_trainer.training.offline.tempfile.mkdtemp", full)

    with pytest.raises(ConfigInvalidError, match="mount an emptyDir at /tmp, or set TMPDIR"):
        offline.configure_environment()


def test_the_log_is_plain_text() -> None:
    record = logging.LogRecord(
        "ultralytics", logging.WARNING, "", 0, "\x1b[34m\x1b[1m%s: \x1b[0mtext", ("train",), None
    )

    assert offline._without_colours(record)
    assert record.getMessage() == "train: text"


def test_the_images_font_cache_is_copied_to_where_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "fontlist.json").write_text("{}")
    monkeypatch.setenv(offline.FONT_CACHE, str(tmp_path / "image"))

    assert (offline._font_cache(tmp_path / "scratch") / "fontlist.json").read_text() == "{}"
    monkeypatch.delenv(offline.FONT_CACHE)
    assert offline._font_cache(tmp_path / "without").is_dir()
