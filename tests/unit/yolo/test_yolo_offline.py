import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_trainer import offline
from yolo_trainer.outcome import ConfigInvalidError

SEALED = """
from yolo_trainer import offline
offline.prepare()
offline.seal()
from ultralytics.utils import SETTINGS, USER_CONFIG_DIR, WEIGHTS_DIR
from ultralytics.utils.checks import check_font
assert SETTINGS["sync"] is False
assert check_font("Arial.ttf").parent == USER_CONFIG_DIR, "plots find their font"
from ultralytics import YOLO
try:
    YOLO(WEIGHTS_DIR / "yolo26n.pt")
except ConnectionError as error:
    # Just this type: Ultralytics' check of mixed precision on a GPU takes it for "offline" and goes on.
    print(error)
"""


def test_ultralytics_downloads_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SEALED],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path), "HOME": "/nonexistent"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "the trainer never downloads anything; not https://" in result.stdout, result.stderr
    assert "yolo26n.pt" in result.stdout


def test_no_temporary_folder_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("yolo_trainer.offline.tempfile.mkdtemp", full)

    with pytest.raises(ConfigInvalidError, match="mount an emptyDir at /tmp, or set TMPDIR"):
        offline.prepare()


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
