"""What the model answers in half precision, against float32, and what happens where half precision overflows.

The model is the tiny one, but with weights whose gain is 1 in each layer, and a last step of the boxes' refinement that
is small, as in a trained decoder: those of `make-tiny-model` are so small that precision hardly counts. The image is
4,000 px wide. A model that is all in float16 is up to 2.1 px off here, one in bfloat16 22 px.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam3Model, Sam3Processor

import gpu_memory
from devcluster.programs.sam3 import tiny_model
from gpu_memory import SimulatedDevice
from sam3_server.worker import postprocess
from sam3_server.worker.allowance import unlimited
from sam3_server.worker.features import Features
from sam3_server.worker.instances import unpack
from sam3_server.worker.model import Sam3, trunk_dtype
from sam3_server.worker.network import Network
from sam3_server.worker.protocol import Exemplar, Prompt, Query, Segment, WorkerError

WIDTH, HEIGHT = 4000, 3000
GPU_MIB = 2000
EXAMPLES = [
    Exemplar(box=(101.3, 200.7, 333.1, 777.9)),
    Exemplar(box=(1203.4, 1411.2, 1224.9, 1430.3)),
    Exemplar(box=(2001.3, 20.7, 2330.1, 777.9), positive=False),
]
PROMPTS = [
    Prompt(text="cat", threshold=0),
    Prompt(threshold=0, exemplars=EXAMPLES[:2]),
    Prompt(text="dog", threshold=0, exemplars=EXAMPLES),
]
QUERY = Query(prompts=PROMPTS, form="box", labels="box", max_instances=50)
MATRICES = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)


def pixels() -> bytearray:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return bytearray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).tobytes())


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lively")
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    model = Sam3Model.from_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, MATRICES):
                module.weight.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
        model.detr_decoder.box_head.layer3.weight.mul_(0.2)
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Answer:
    """Boxes in px of shape (prompts, instances, 4), scores, and the label lines' numbers in px."""

    boxes: Any
    scores: Any
    labels: Any

    @classmethod
    def of(cls, sam3: Sam3, query: Query = QUERY) -> "Answer":
        segmented = sam3.segment(
            Segment(width=WIDTH, height=HEIGHT, query=query, seconds=math.inf), pixels(), unlimited()
        )
        results, labels = postprocess.build_results(query, unpack(segmented.findings)[1], WIDTH, HEIGHT)
        boxes = [[each.box for each in result.detections] for result in results]
        scores = [[each.score for each in result.detections] for result in results]
        lines = [line.split()[1:] for line in (labels or "").splitlines()]
        return cls(np.array(boxes), np.array(scores), np.array(lines, float) * (WIDTH, HEIGHT, WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def exact(lively: Path) -> Answer:
    return Answer.of(Sam3(lively, "float32", 0, 0))


@pytest.fixture(scope="module")
def half(lively: Path) -> Answer:
    return Answer.of(Sam3(lively, "float16", 0, 0))


def test_boxes_are_within_a_pixel_of_float32(half: Answer, exact: Answer) -> None:
    assert exact.boxes.shape == (3, 5, 4)
    assert np.abs(half.boxes - exact.boxes).max() < 1
    assert half.labels.shape == exact.labels.shape
    assert np.abs(half.labels - exact.labels).max() < 1


def test_neither_boxes_nor_scores_are_numbers_of_half_precision(half: Answer, exact: Answer) -> None:
    for values in (half.scores, half.boxes / (WIDTH, HEIGHT, WIDTH, HEIGHT)):
        assert not np.any(values.astype(np.float16).astype(np.float64) == values)
    assert np.abs(half.scores - exact.scores).max() < 2e-4


def test_an_example_of_20_px_counts_where_it_is(lively: Path) -> None:
    """A small box moved by a pixel is another prompt; rounded to float16 it would be the same."""
    sam3 = Sam3(lively, "float16", 0, 1)
    there, beside = ((1203.0, 1411.0, 1223.0, 1431.0), (1203.5, 1411.0, 1223.5, 1431.0))
    answers = [
        Answer.of(sam3, QUERY.model_copy(update={"prompts": [Prompt(threshold=0, exemplars=[Exemplar(box=box)])]}))
        for box in (there, beside)
    ]
    assert not np.array_equal(answers[0].boxes, answers[1].boxes)


def test_float32_is_the_stock_model(lively: Path) -> None:
    stock, network = Sam3Model.from_pretrained(lively).eval(), Network(lively, torch.float32)
    processor = Sam3Processor.from_pretrained(lively)
    array = np.frombuffer(pixels(), np.uint8).reshape(HEIGHT, WIDTH, 3)
    boxes, labels = [[[10.0, 20.0, 900.0, 700.0]]], [[1]]
    with torch.inference_mode():
        image = processor(images=array, return_tensors="pt").pixel_values
        prompt = processor(
            text="cat",
            input_boxes=boxes,
            input_boxes_labels=labels,
            original_sizes=[[HEIGHT, WIDTH]],
            return_tensors="pt",
        )
        del prompt["original_sizes"]
        features = Features(WIDTH, HEIGHT, "", network.vision_features(image))
        ours = network.predict(network.detector_levels(features), dict(prompt))
        theirs = stock(pixel_values=image, **prompt)
    for name in ("pred_boxes", "pred_logits", "presence_logits", "pred_masks"):
        assert torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5), name


def test_a_text_is_embedded_once_and_the_answers_stay_the_same(lively: Path, exact: Answer) -> None:
    """The second answer has its texts from the first, in another order and with other examples."""
    sam3, computed = Sam3(lively, "float32", 0, 0), 0

    def count(*_: object) -> None:
        nonlocal computed
        computed += 1

    sam3._network._model.text_encoder.text_model.register_forward_hook(count)
    texts = [Prompt(text="dog", threshold=0), Prompt(text="cat", threshold=0)]
    first = QUERY.model_copy(update={"prompts": texts})
    Answer.of(sam3, first)
    assert computed == 2
    again = Answer.of(sam3)
    assert computed == 3, "a prompt without a text has one of the model's own"
    assert np.array_equal(again.boxes, exact.boxes)
    assert np.array_equal(again.scores, exact.scores)
    sam3.recover()
    Answer.of(sam3, first)
    assert computed == 5


@pytest.mark.parametrize("trunk", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_every_load_computes_with_the_same_buffers(
    lively: Path, tmp_path: Path, stored: str, trunk: torch.dtype
) -> None:
    reference = dict(Sam3Model.from_pretrained(lively, dtype=torch.float32).named_buffers())
    Sam3Model.from_pretrained(lively).to(getattr(torch, stored)).save_pretrained(tmp_path)
    for _ in range(2):
        network = Network(tmp_path, trunk)
        buffers = dict(network._model.named_buffers())
        assert buffers.keys() == reference.keys()
        for name, buffer in buffers.items():
            assert buffer.dtype is reference[name].dtype, name
            assert torch.equal(buffer, reference[name]), name


def test_only_the_trunks_matrices_are_in_half_precision(lively: Path) -> None:
    parameters = dict(Network(lively, torch.float16)._model.named_parameters())
    halves = {name for name, each in parameters.items() if each.dtype is torch.float16}
    assert {parameters[name].dtype for name in parameters.keys() - halves} == {torch.float32}
    assert all(name.startswith(("vision_encoder.", "text_encoder.")) for name in halves)
    assert not any("norm" in name or "embed_tokens" in name or "position_embed" in name for name in halves)
    assert "vision_encoder.backbone.layers.0.attention.q_proj.weight" in halves
    assert "vision_encoder.neck.fpn_layers.0.proj1.weight" in halves


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Sam3]:
    """Make models for a GPU whose arithmetic is the CPU's."""
    ledger = gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))
    monkeypatch.setattr(gpu_memory, "computes_on_host", lambda: False)
    monkeypatch.setattr(gpu_memory, "open_device", lambda: SimulatedDevice(ledger))
    return lambda folder, dtype: Sam3(folder, dtype, GPU_MIB, 1)


def overflowing(lively: Path, folder: Path, times: float) -> Path:
    """Copy a model so that what one matrix of its trunk yields does not fit into float16, but its weights do."""
    shutil.copytree(lively, folder, dirs_exist_ok=True)
    model = Sam3Model.from_pretrained(folder)
    with torch.no_grad():
        model.vision_encoder.backbone.layers[1].mlp.fc2.weight.mul_(times)
    model.save_pretrained(folder)
    return folder


def test_auto_on_a_gpu_is_float16_where_the_numbers_fit(
    lively: Path, half: Answer, on_gpu: Callable[[Path, str], Sam3]
) -> None:
    sam3 = on_gpu(lively, "auto")
    assert sam3.attach().dtype == "float16"
    assert np.array_equal(Answer.of(sam3).boxes, half.boxes)


def test_auto_is_float32_where_the_probe_overflows(
    lively: Path, tmp_path: Path, on_gpu: Callable[[Path, str], Sam3], caplog: pytest.LogCaptureFixture
) -> None:
    folder = overflowing(lively, tmp_path, 60_000.0)
    sam3 = on_gpu(folder, "auto")
    assert sam3.attach().dtype == "float32"
    assert "overflowed in float16" in caplog.text
    assert np.array_equal(Answer.of(sam3).boxes, Answer.of(Sam3(folder, "float32", 0, 0)).boxes)


def test_auto_turns_to_float32_at_the_first_image_that_overflows(
    lively: Path, tmp_path: Path, on_gpu: Callable[[Path, str], Sam3], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = overflowing(lively, tmp_path, 60_000.0)
    sam3 = on_gpu(folder, "auto")
    monkeypatch.setattr(sam3, "_probed", True)  # as if the probe had not overflowed
    assert sam3.attach().dtype == "float16"
    request = Segment(width=WIDTH, height=HEIGHT, query=QUERY, seconds=math.inf)
    assert sam3.segment(request, pixels(), unlimited()).dtype == "float32"
    again = sam3.segment(request, pixels(), unlimited())
    assert (again.dtype, again.cached) == ("float32", True)


def test_float16_that_was_asked_for_overflows_with_a_sentence(
    lively: Path, tmp_path: Path, on_gpu: Callable[[Path, str], Sam3]
) -> None:
    sam3 = on_gpu(overflowing(lively, tmp_path, 60_000.0), "float16")
    with pytest.raises(WorkerError, match="overflowed; set SAM3_DTYPE=auto or float32"):
        sam3.attach()


def test_damaged_weights_are_not_blamed_on_precision(
    lively: Path, tmp_path: Path, on_gpu: Callable[[Path, str], Sam3]
) -> None:
    sam3 = on_gpu(overflowing(lively, tmp_path, float("nan")), "auto")
    with pytest.raises(WorkerError, match="not finite in float32 either"):
        sam3.attach()


def test_what_auto_means() -> None:
    assert trunk_dtype("auto", on_gpu=True) is torch.float16
    assert trunk_dtype("auto", on_gpu=False) is torch.float32
    assert trunk_dtype("bfloat16", on_gpu=True) is torch.bfloat16
