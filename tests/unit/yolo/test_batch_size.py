from pathlib import Path

import pytest

from yolo_trainer.inputs.batch_size import (
    DEFAULT_BATCH,
    MAX_BATCH,
    MemoryNeed,
    OutOfMemoryRecord,
    choose_batch,
    images_trained,
)
from yolo_trainer.job.spec import Job

MANY = 10**6


def job(batch: int | str) -> Job:
    return Job.model_validate(
        {
            "model": "yolo26n.yaml",
            "dataset": {"path": "/data"},
            "training": {"batch": batch},
            "output": {"path": "/output"},
        }
    )


@pytest.mark.parametrize(
    ("granted", "batch"),
    [(100, 1), (1000, 1), (1300, 3), (1500, 5), (1900, 8), (10_000, 80), (10**9, MAX_BATCH)],
)
def test_the_batch_fits_into_what_was_granted(granted: int, batch: int) -> None:
    need = MemoryNeed(fixed=800, per_image=100)

    chosen = choose_batch(job("auto"), need, granted, None, MANY)

    assert chosen == batch
    assert need.of(chosen) <= granted or chosen == 1


def test_without_a_gpu_it_is_the_default() -> None:
    assert choose_batch(job("auto"), MemoryNeed(800, 100), None, None, MANY) == DEFAULT_BATCH


def test_it_is_half_of_the_smallest_that_failed(tmp_path: Path) -> None:
    record = OutOfMemoryRecord(tmp_path / "checkpoint", "u1")
    assert record.smallest_failed() is None

    for failed in (32, 16, 8, 5, 16):  # Ultralytics halves in its first epoch; a batch above is tried by hand
        record.add(failed)
    assert record.smallest_failed() == 5
    assert choose_batch(job(32), None, None, record.smallest_failed(), MANY) == 2
    assert choose_batch(job(1), None, None, record.smallest_failed(), MANY) == 1, "a smaller one stays"
    assert choose_batch(job("auto"), MemoryNeed(0, 1), 1000, record.smallest_failed(), MANY) == 2
    record.add(1)
    assert choose_batch(job(16), None, None, record.smallest_failed(), MANY) == 1
    assert OutOfMemoryRecord(tmp_path / "checkpoint", "u2").smallest_failed() is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"uid": "u1", "batch": "x"}'])
def test_a_damaged_record_limits_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "out-of-memory.json").write_text(content)

    assert OutOfMemoryRecord(tmp_path, "u1").smallest_failed() is None


@pytest.mark.parametrize(
    ("images", "batch"), [(1, 16), (40, 16), (512, 16), (1000, 24), (3200, 96), (16_384, MAX_BATCH), (10**6, MAX_BATCH)]
)
def test_auto_leaves_an_epoch_a_sensible_number_of_steps(images: int, batch: int) -> None:
    assert choose_batch(job("auto"), MemoryNeed(0, 1), 10**6, None, images) == batch
    assert choose_batch(job(64), None, None, None, images) == 64, "what a job says is taken"


@pytest.mark.parametrize(
    ("fraction", "images"), [(None, 1000), (1.0, 1000), (0.25, 250), (300, 300), (9000, 1000), ([0.5, 1.0], 500)]
)
def test_the_images_that_are_trained_on_count(fraction: object, images: int) -> None:
    assert images_trained(1000, fraction) == images
