"""Chunked post-processing against the stock one, on the real tiny model's shapes. Imports PyTorch and transformers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from transformers import Sam3ImageProcessor

from sam3_server.worker import masks
from sam3_server.worker.model import choose_dtype
from sam3_server.worker.protocol import Mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")


def outputs(count: int, dtype: torch.dtype = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(count)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    corners = torch.rand(1, count, 2, 2, generator=generator).sort(dim=2).values.reshape(1, count, 4).to(dtype)
    return SimpleNamespace(
        pred_logits=noise(1, count) + 2,
        presence_logits=noise(1, 1) + 2,
        pred_boxes=corners,
        pred_masks=noise(1, count, 16, 16) * 5,
    )


@pytest.mark.parametrize("count", [1, 7, 8, 9, 25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_detections_are_those_of_the_stock_post_processing(count: int, dtype: torch.dtype) -> None:
    raw = outputs(count, dtype)
    (stock,) = Sam3ImageProcessor().post_process_instance_segmentation(raw, threshold=0.5, target_sizes=[(37, 53)])
    found = masks.detections(raw, threshold=0.5, height=37, width=53)
    assert len(found) == len(stock["scores"]) > 0
    for each, score, box, mask in zip(found, stock["scores"], stock["boxes"], stock["masks"], strict=True):
        assert each.score == score.item()
        assert np.allclose(each.box, box.tolist(), rtol=2e-3 if dtype is torch.float16 else 1e-6)
        assert np.array_equal(coco.decode(each.mask.model_dump()), mask.numpy())


def test_large_images_are_upsampled_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = outputs(9).pred_masks[0]
    whole = masks.encode(logits, 40, 40)
    sizes = []
    encode = masks._encode_chunk

    def counted(chunk: torch.Tensor, height: int, width: int) -> list[Mask]:
        sizes.append(len(chunk))
        return encode(chunk, height, width)

    monkeypatch.setattr(masks, "_encode_chunk", counted)
    monkeypatch.setattr(masks, "PIXELS_PER_CHUNK", 40 * 40 * 2 + 1)
    assert masks.encode(logits, 40, 40) == whole
    assert sizes == [2, 2, 2, 2, 1]
    monkeypatch.setattr(masks, "PIXELS_PER_CHUNK", 1)
    assert masks.encode(logits, 40, 40) == whole


def test_nothing_above_the_threshold_is_nothing_found() -> None:
    assert masks.detections(outputs(5), threshold=1.0, height=4, width=4) == []


@pytest.mark.parametrize("name", ["pred_logits", "pred_masks", "pred_boxes", "presence_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_overflowed_are_no_result(name: str, value: float) -> None:
    raw = outputs(3)
    getattr(raw, name).view(-1)[0] = value
    with pytest.raises(masks.NonFiniteError):
        masks.detections(raw, threshold=0.5, height=4, width=4)


@pytest.mark.parametrize(
    ("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)], ids=["ampere", "turing"]
)
def test_auto_is_half_precision_that_the_gpu_has(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert choose_dtype("auto", "cuda") is expected
    assert choose_dtype("auto", "simulated") is choose_dtype("auto", "cpu") is torch.float32
    assert choose_dtype("float32", "cuda") is torch.float32
