from pathlib import Path

import pytest

from yolo_trainer.batch import LARGEST, WITHOUT_GPU, Need, OutOfMemoryRecord, choose_batch
from yolo_trainer.job import Job


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
    [(100, 1), (1000, 1), (1300, 3), (1500, 5), (1900, 8), (10_000, 80), (10**9, LARGEST)],
)
def test_the_batch_fits_into_what_was_granted(granted: int, batch: int) -> None:
    need = Need(fixed=800, per_picture=100)

    chosen = choose_batch(job("auto"), need, granted, None)

    assert chosen == batch
    assert need.of(chosen) <= granted or chosen == 1


def test_without_a_gpu_it_is_the_default() -> None:
    assert choose_batch(job("auto"), Need(800, 100), None, None) == WITHOUT_GPU


def test_after_running_out_of_memory_it_is_half(tmp_path: Path) -> None:
    record = OutOfMemoryRecord(tmp_path / "checkpoint", "u1")
    assert record.limit() is None

    record.note(16)
    assert choose_batch(job(16), None, None, record.limit()) == 8
    assert choose_batch(job(4), None, None, record.limit()) == 4, "the operator halves too; not twice"
    assert choose_batch(job("auto"), Need(0, 1), 1000, record.limit()) == 8
    record.note(8)
    assert record.limit() == 4
    record.note(1)
    assert record.limit() == 1
    assert OutOfMemoryRecord(tmp_path / "checkpoint", "u2").limit() is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"uid": "u1", "batch": "x"}'])
def test_a_damaged_record_limits_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "out-of-memory.json").write_text(content)

    assert OutOfMemoryRecord(tmp_path, "u1").limit() is None
