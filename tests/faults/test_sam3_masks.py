"""Post-processing against the stock one. It imports PyTorch and transformers, so it is not in the fast layer."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from transformers import Sam3ImageProcessor

from sam3_server.worker import masks, telling
from sam3_server.worker.model import choose_dtype
from sam3_server.worker.protocol import Form, LabelForm, Mask, Prompt, Query

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
    told = masks.instances(raw, threshold=0.5, height=37, width=53, most=count, with_masks=True)
    found = told.found
    assert len(found) == len(stock["scores"]) > 0
    assert told.omitted == 0
    for each, score, box, mask in zip(found, stock["scores"], stock["boxes"], stock["masks"], strict=True):
        assert each.score == score.item()
        assert np.allclose(each.box, box.tolist(), rtol=2e-3 if dtype is torch.float16 else 1e-6)
        assert each.mask is not None
        assert np.array_equal(coco.decode(each.mask.model_dump()), mask.numpy())


def test_of_too_many_instances_the_best_are_told_in_the_models_order() -> None:
    raw = outputs(25)
    every = masks.instances(raw, threshold=0.2, height=9, width=9, most=25, with_masks=True).found
    few = masks.instances(raw, threshold=0.2, height=9, width=9, most=5, with_masks=True)
    best = sorted(every, key=lambda each: -each.score)[:5]
    assert few.found == [each for each in every if each in best]
    assert few.omitted == len(every) - 5 > 0


def test_boxes_alone_are_the_same_without_masks() -> None:
    raw = outputs(9)
    with_masks = masks.instances(raw, 0.5, 9, 9, 9, with_masks=True).found
    boxes = masks.instances(raw, 0.5, 9, 9, 9, with_masks=False).found
    assert [(each.box, each.score, None) for each in with_masks] == [
        (each.box, each.score, each.mask) for each in boxes
    ]


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
    assert masks.instances(outputs(5), 1.0, 4, 4, 5, with_masks=True) == masks.Instances([], omitted=0)


@pytest.mark.parametrize("name", ["pred_logits", "pred_masks", "pred_boxes", "presence_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_overflowed_are_no_result(name: str, value: float) -> None:
    raw = outputs(3)
    getattr(raw, name).view(-1)[0] = value
    with pytest.raises(masks.NonFiniteError):
        masks.instances(raw, 0.5, 4, 4, 3, with_masks=True)


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


def instance(x: int, score: float, side: int = 10) -> masks.Instance:
    bits = np.zeros((20, 60), np.uint8)
    bits[:side, x : x + side] = 1
    rle = coco.encode(np.asfortranarray(bits))
    mask = Mask(size=(20, 60), counts=rle["counts"].decode())
    return masks.Instance((float(x), 0.0, float(x + side), float(side)), score, mask)


@pytest.mark.parametrize("with_masks", [True, False])
def test_of_duplicates_the_best_is_told_whichever_prompt_found_it(with_masks: bool) -> None:
    first = [instance(0, 0.6), instance(30, 0.9)]
    second = [instance(1, 0.8), instance(31, 0.5), instance(45, 0.1)]
    found = [masks.Instances(each, omitted=3) for each in (first, second)]
    if not with_masks:
        found = [masks.Instances([replace(one, mask=None) for one in of.found], of.omitted) for of in found]
    kept = telling.without_duplicates(found, most_iou=0.5)
    assert [[one.score for one in of.found] for of in kept] == [[0.9], [0.8, 0.1]]
    assert [of.omitted for of in kept] == [3, 3]
    assert telling.without_duplicates(found, most_iou=1.0) == found
    assert telling.without_duplicates([masks.Instances([], 0)], most_iou=0.5) == [masks.Instances([], 0)]


@pytest.mark.parametrize(("form", "labels"), [("rle", None), ("polygon", "box"), ("box", "polygon"), ("box", None)])
def test_each_instance_is_told_in_the_form_asked_for(form: Form, labels: LabelForm | None) -> None:
    query = Query(prompts=[Prompt(text="cat", class_id=4)], form=form, labels=labels, max_instances=9)
    assert telling.needs_masks(query) is ((form, labels) != ("box", None))
    (result,), label_file = telling.tell(query, [masks.Instances([instance(0, 0.5)], omitted=2)], 60, 20)
    (detection,) = result.detections
    assert (result.prompt, result.class_id, result.omitted) == ("cat", 4, 2)
    assert (detection.mask is not None, detection.polygons is not None) == (form == "rle", form == "polygon")
    expected = {
        None: None,
        "box": "4 0.083333 0.250000 0.166667 0.500000\n",
        "polygon": "4 0.000000 0.000000 0.000000 0.450000 0.150000 0.450000 0.150000 0.000000\n",
    }
    assert label_file == expected[labels]
