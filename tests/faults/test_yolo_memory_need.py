"""The estimated memory of a training run, on PyTorch's meta device, against published figures."""

from pathlib import Path
from typing import Any

import pytest

from yolo_trainer.inputs.batch_size import MemoryNeed, measure_need


def mib(model: str, image_size: int, **args: Any) -> MemoryNeed:
    return measure_need(model, "detect", image_size, args)


def test_the_need_is_that_of_a_t4() -> None:
    """Published figures for yolov8s at 640 pixels on a T4: 0.65 GB for 1, 1.2 for 4, 2.2 for 8, 4.2 for 16."""
    need = mib("yolov8s.yaml", 640)

    for batch, measured in ((1, 650), (4, 1200), (8, 2200), (16, 4200)):
        assert measured * 0.9 < need.of(batch) < measured * 1.25


def test_the_need_grows_with_pixels_and_precision() -> None:
    need = mib("yolo26n.yaml", 128)

    assert mib("yolo26n.yaml", 256).per_image == pytest.approx(4 * need.per_image, rel=0.05)
    assert mib("yolo26n.yaml", 128, amp=False).per_image == pytest.approx(2 * need.per_image, rel=0.05)
    assert mib("yolo26n.yaml", 128, multi_scale=0.5).per_image == pytest.approx(2.25 * need.per_image, rel=0.05)


def test_a_teacher_counts(tmp_path: Path) -> None:
    """Against what a training step with Ultralytics' own pair keeps, in single precision on the CPU."""
    from ultralytics import YOLO

    YOLO("yolo26s.yaml").save(tmp_path / "teacher.pt")
    alone = mib("yolo26n.yaml", 128)

    taught = mib("yolo26n.yaml", 128, distill_model=str(tmp_path / "teacher.pt"))

    weights = sum(parameter.numel() for parameter in YOLO("yolo26s.yaml").model.parameters()) * 4 / 2**20
    assert taught.fixed - alone.fixed > weights
    assert 1.05 * alone.per_image < taught.per_image < 3 * alone.per_image


def test_other_channels_and_families_are_measured(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.save({"model": DetectionModel("yolo26n.yaml", ch=1, verbose=False)}, tmp_path / "grey.pt")
    color = mib("yolo26n.yaml", 128).per_image

    assert mib(str(tmp_path / "grey.pt"), 128).per_image == pytest.approx(color, rel=0.1)
    assert mib("rtdetr-l.yaml", 128).per_image > color
