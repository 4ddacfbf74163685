"""The preview of predictions: at most every five minutes, and only of a validation's first batch."""

import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yolo_trainer.training.preview import FILE_NAME, MAX_BYTES, PAUSE_SECONDS, Preview, latest_preview
from yolo_trainer.training.progress import ProgressTracker
from yolo_trainer.training.progress_server import ProgressServer, Sources

JPEG = b"\xff\xd8\xff image \xff\xd9"


def validate(samples: Preview, *, plots: bool = False, batches: int = 3) -> list[bool]:
    """Return which batches of a validation are drawn; Ultralytics' own order of callbacks."""
    validator = SimpleNamespace(args=SimpleNamespace(plots=plots))
    samples.begin(validator)
    drawn = []
    for _ in range(batches):
        drawn.append(validator.args.plots)
        samples.end_batch(validator)
    return drawn


def test_the_first_batch_is_drawn_and_again_when_the_image_is_old() -> None:
    now = 0.0
    samples = Preview(wanted=True, clock=lambda: now)
    assert validate(samples) == [True, False, False]
    now = PAUSE_SECONDS - 1
    assert validate(samples) == [False, False, False]
    now = PAUSE_SECONDS
    assert validate(samples) == [True, False, False]


def test_the_final_validation_draws_all_it_is_to_draw() -> None:
    assert validate(Preview(wanted=True), plots=True) == [True, True, True]


def test_a_job_without_plots_gets_none() -> None:
    assert validate(Preview(wanted=False)) == [False, False, False]


@pytest.mark.parametrize(
    ("content", "served"),
    [(JPEG, JPEG), (JPEG[:-1], None), (b"", None), (JPEG + bytes(MAX_BYTES) + b"\xff\xd9", None), (None, None)],
    ids=["whole", "half", "empty", "huge", "none"],
)
def test_only_a_complete_image_is_served(tmp_path: Path, content: bytes | None, served: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    nothing: Any = int  # sources that are not asked
    sources = Sources(ProgressTracker().snapshot, nothing, nothing, nothing, lambda: latest_preview(tmp_path))
    server = ProgressServer("127.0.0.1", 0, sources)
    server.start()
    url = f"http://127.0.0.1:{server.port}/predictions.jpg"
    try:
        if served is None:
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url, timeout=5)
        else:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert (answer.headers["Content-Type"], answer.read()) == ("image/jpeg", served)
    finally:
        server.stop()
