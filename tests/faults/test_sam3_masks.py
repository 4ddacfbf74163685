"""Post-processing against the stock one. It imports PyTorch and transformers, so it is not in the fast layer."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from transformers import Sam3ImageProcessor

from sam3_server.worker import masks, postprocess
from sam3_server.worker.instances import Found, Head, Instance, Instances, Runs, pack, unpack
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


def found_in(raw: Any, threshold: float, height: int, width: int, most: int, with_masks: bool = True) -> list[Instance]:
    """What the encoder is given of the instances that the worker found for one prompt."""
    head = Head(width=width, height=height, model_seconds=0)
    found = masks.instances(raw, threshold, height, width, most, with_masks)
    _, (unpacked,) = unpack(pack(head, [found]))
    assert unpacked.omitted == found.omitted
    return unpacked.found


@pytest.mark.parametrize("count", [1, 7, 8, 9, 25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_detections_are_those_of_the_stock_post_processing(count: int, dtype: torch.dtype) -> None:
    raw = outputs(count, dtype)
    (stock,) = Sam3ImageProcessor().post_process_instance_segmentation(raw, threshold=0.5, target_sizes=[(37, 53)])
    found = found_in(raw, 0.5, 37, 53, count)
    assert len(found) == len(stock["scores"]) > 0
    for each, score, box, mask in zip(found, stock["scores"], stock["boxes"], stock["masks"], strict=True):
        assert each.score == score.item()
        assert np.allclose(each.box, box.tolist(), rtol=2e-3 if dtype is torch.float16 else 1e-6)
        assert each.mask is not None
        assert np.array_equal(coco.decode(each.mask.model_dump()), mask.numpy())


def test_the_best_instances_keep_the_models_order() -> None:
    raw = outputs(25)
    every = found_in(raw, 0.2, 9, 9, most=25)
    best = sorted(every, key=lambda each: -each.score)[:5]
    assert found_in(raw, 0.2, 9, 9, most=5) == [each for each in every if each in best]
    assert masks.instances(raw, 0.2, 9, 9, most=5, with_masks=True).omitted == len(every) - 5 > 0


def test_boxes_alone_are_the_same_without_masks() -> None:
    raw = outputs(9)
    with_masks = found_in(raw, 0.5, 9, 9, 9)
    assert [replace(each, mask=None) for each in with_masks] == found_in(raw, 0.5, 9, 9, 9, with_masks=False)


def test_large_images_are_upsampled_in_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = outputs(9).pred_masks[0]
    whole = [each.tolist() for each in masks.runs(logits, 40, 40)]
    sizes = []
    runs_of_chunk = masks._runs_of_chunk

    def counted(chunk: torch.Tensor, height: int, width: int, as_logits: bool) -> list[Runs]:
        sizes.append(len(chunk))
        return runs_of_chunk(chunk, height, width, as_logits)

    monkeypatch.setattr(masks, "_runs_of_chunk", counted)
    monkeypatch.setattr(masks, "PIXELS_PER_CHUNK", 40 * 40 * 2 + 1)
    assert [each.tolist() for each in masks.runs(logits, 40, 40)] == whole
    assert sizes == [2, 2, 2, 2, 1]
    monkeypatch.setattr(masks, "PIXELS_PER_CHUNK", 1)
    assert [each.tolist() for each in masks.runs(logits, 40, 40)] == whole


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (5, 4)])
@pytest.mark.parametrize("rows", ["0", "1", "01", "10", "0110", "1001"])
def test_runs_are_those_of_pycocotools(height: int, width: int, rows: str) -> None:
    bits = np.resize(np.array([int(bit) for bit in rows], np.uint8), (height, width))
    logits = torch.from_numpy(np.where(bits, 9.0, -9.0)).unsqueeze(0)
    (runs,) = masks.runs(logits, height, width)
    encoded = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    assert encoded["counts"] == coco.encode(np.asfortranarray(bits))["counts"]
    assert runs.sum() == height * width


def test_nothing_above_the_threshold_is_nothing_found() -> None:
    assert masks.instances(outputs(5), 1.0, 4, 4, 5, with_masks=True) == Found([], [], [], omitted=0)


@pytest.mark.parametrize("name", ["pred_logits", "pred_masks", "pred_boxes", "presence_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_overflowed_are_no_result(name: str, value: float) -> None:
    raw = outputs(3)
    getattr(raw, name).view(-1)[0] = value
    with pytest.raises(masks.NonFiniteError):
        masks.instances(raw, 0.5, 4, 4, 3, with_masks=True)


def instance(x: int, score: float, side: int = 10) -> Instance:
    bits = np.zeros((20, 60), np.uint8)
    bits[:side, x : x + side] = 1
    rle = coco.encode(np.asfortranarray(bits))
    mask = Mask(size=(20, 60), counts=rle["counts"].decode())
    return Instance((float(x), 0.0, float(x + side), float(side)), score, mask)


@pytest.mark.parametrize("with_masks", [True, False])
def test_of_duplicates_of_any_prompt_the_best_is_returned(with_masks: bool) -> None:
    first = [instance(0, 0.6), instance(30, 0.9)]
    second = [instance(1, 0.8), instance(31, 0.5), instance(45, 0.1)]
    found = [Instances(each, omitted=3) for each in (first, second)]
    if not with_masks:
        found = [Instances([replace(one, mask=None) for one in of.found], of.omitted) for of in found]
    kept = postprocess.without_duplicates(found, most_iou=0.5)
    assert [[one.score for one in of.found] for of in kept] == [[0.9], [0.8, 0.1]]
    assert [of.omitted for of in kept] == [3, 3]
    assert postprocess.without_duplicates(found, most_iou=1.0) == found
    assert postprocess.without_duplicates([Instances([], 0)], most_iou=0.5) == [Instances([], 0)]


@pytest.mark.parametrize(("form", "labels"), [("rle", None), ("polygon", "box"), ("box", "polygon"), ("box", None)])
def test_each_instance_is_returned_in_the_requested_form(form: Form, labels: LabelForm | None) -> None:
    query = Query(prompts=[Prompt(text="cat", class_id=4)], form=form, labels=labels, max_instances=9)
    assert query.needs_masks is ((form, labels) != ("box", None))
    (result,), label_file = postprocess.build_results(query, [Instances([instance(0, 0.5)], omitted=2)], 60, 20)
    (detection,) = result.detections
    assert (result.prompt, result.class_id, result.omitted) == ("cat", 4, 2)
    assert (detection.mask is not None, detection.polygons is not None) == (form == "rle", form == "polygon")
    expected = {
        None: None,
        "box": "4 0.083333 0.250000 0.166667 0.500000\n",
        "polygon": "4 0.000000 0.000000 0.166667 0.000000 0.166667 0.500000 0.000000 0.500000\n",
    }
    assert label_file == expected[labels]
    assert result.unlabelled == (None if labels is None else 0)


@pytest.mark.parametrize("form", ["rle", "polygon", "box"])
def test_the_missing_label_of_an_empty_instance_is_counted(form: Form) -> None:
    query = Query(prompts=[Prompt(text="cat")], form=form, labels="polygon", max_instances=9)
    found = [Instances([instance(0, 0.9, side=0), instance(0, 0.5), instance(30, 0.4, side=1)], omitted=0)]
    (result,), label_file = postprocess.build_results(query, found, 60, 20)
    assert (len(result.detections), result.unlabelled) == (3, 1)
    assert label_file is not None
    assert len(label_file.splitlines()) == 2, "one pixel is enough for a label"
    if form == "polygon":
        assert result.detections[0].polygons == []


def test_a_box_outside_the_image_has_no_label_and_is_counted() -> None:
    query = Query(prompts=[Prompt(text="cat")], form="box", labels="box", max_instances=9)
    (result,), label_file = postprocess.build_results(
        query, [Instances([instance(0, 0.9), instance(70, 0.8)], 0)], 60, 20
    )
    assert (len(result.detections), result.unlabelled) == (2, 1)
    assert label_file == "0 0.083333 0.250000 0.166667 0.500000\n"
