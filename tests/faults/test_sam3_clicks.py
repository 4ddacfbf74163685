"""Single objects by clicks, in the real (tiny) model: the stock model's masks, passes, files without a tracker."""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file, save_file
from transformers import Sam3Model, Sam3Processor, Sam3TrackerModel, Sam3TrackerProcessor

from devcluster.programs.sam3 import tiny_model
from sam3_server.serving.host_memory import count_weights
from sam3_server.worker import tracker_weights
from sam3_server.worker.allowance import Allowance, unlimited
from sam3_server.worker.inputs import MASK_LOGIT
from sam3_server.worker.instances import Head, Instance, unpack
from sam3_server.worker.model import Sam3
from sam3_server.worker.network import Network
from sam3_server.worker.protocol import Box, Failed, ObjectPrompt, Point, Prompt, Query, Segment, Setup, WorkerError
from sam3_server.worker.session import Session

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")
WIDTH, HEIGHT = 90, 60
FILE = "model.safetensors"
BACKBONE = "vision_encoder.backbone."


def noise(seed: int = 0) -> bytearray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return bytearray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).tobytes())


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with weights whose gain is 1 in each layer: its own are so small that clicks hardly count."""
    folder = tmp_path_factory.mktemp("lively")
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    tensors = load_file(folder / FILE)
    for name, each in tensors.items():
        if each.dim() > 1 and ".position" not in name and "positional" not in name:
            each.normal_(0, each[0].numel() ** -0.5, generator=generator)
    save_file(tensors, folder / FILE, metadata={"format": "pt"})
    return folder


@pytest.fixture
def sam3(lively: Path) -> Sam3:
    return Sam3(lively, "float32", 0, 2)


@pytest.fixture
def passes(sam3: Sam3) -> Iterator[Callable[[], int]]:
    """Count passes through the vision backbone."""
    count = 0

    def passed(*_: object) -> None:
        nonlocal count
        count += 1

    hook = sam3._network._model.vision_encoder.backbone.register_forward_hook(passed)
    yield lambda: count
    hook.remove()


def click(*points: tuple[float, float, int], box: Box | None = None, multimask: bool = False) -> ObjectPrompt:
    every = [Point(x=x, y=y, positive=bool(positive)) for x, y, positive in points]
    return ObjectPrompt(points=every, box=box, multimask=multimask)


CLICKS = {
    "a point": click((20, 30, 1), multimask=True),
    "a point, one mask": click((20, 30, 1)),
    "several points": click((20.5, 30.25, 1), (70, 10, 0), (33, 40, 1)),
    "a box": click(box=(10, 5, 60.5, 50)),
    "a box and points": click((20, 30, 1), (50, 20, 0), box=(10, 5, 60, 50), multimask=True),
}


def ask(sam3: Sam3, query: Query, pixels: bytearray | None = None) -> tuple[Head, list[list[Instance]]]:
    known = pixels is None
    size = (0, 0) if known else (WIDTH, HEIGHT)
    request = Segment(width=size[0], height=size[1], query=query, seconds=math.inf)
    segmented = sam3.segment(request, pixels or bytearray(), unlimited())
    assert segmented.prompts == len(query.parts)
    head, found = unpack(segmented.findings)
    return head, [each.found for each in found]


def asking(*objects: ObjectPrompt, **fields: Any) -> Query:
    return Query(prompts=[], objects=list(objects), max_instances=1, **fields)


def bits(instance: Instance) -> Any:
    assert instance.mask is not None
    return coco.decode(instance.mask.model_dump()).astype(bool)


class Stock:
    """transformers' own model of its own weights, one object at a time."""

    def __init__(self, folder: Path) -> None:
        detector = Sam3Model.from_pretrained(folder)
        config = tracker_weights._config(folder, detector.config)
        self.model = Sam3TrackerModel.from_pretrained(folder, config=config).eval()
        self.processor = Sam3TrackerProcessor(Sam3Processor.from_pretrained(folder).image_processor)

    def mask(self, asked: ObjectPrompt, pixels: bytearray) -> tuple[Any, float]:
        """Return the best mask of shape (HEIGHT, WIDTH), and its score."""
        inputs = self.processor(
            images=np.frombuffer(pixels, np.uint8).reshape(HEIGHT, WIDTH, 3),
            input_points=[[[[each.x, each.y] for each in asked.points]]] if asked.points else None,
            input_labels=[[[int(each.positive) for each in asked.points]]] if asked.points else None,
            input_boxes=[[list(asked.box)]] if asked.box else None,
            return_tensors="pt",
        )
        if asked.mask is not None:
            bits = torch.from_numpy(coco.decode(asked.mask.model_dump()))
            inputs["input_masks"] = torch.where(bits.bool(), MASK_LOGIT, -MASK_LOGIT).view(1, 1, HEIGHT, WIDTH)
        with torch.inference_mode():
            outputs = self.model(**inputs, multimask_output=asked.multimask)
        (masks,) = self.processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])
        best = int(outputs.iou_scores[0, 0].argmax())
        return masks[0, best].numpy(), float(outputs.iou_scores[0, 0, best])


@pytest.fixture(scope="module")
def stock(lively: Path) -> Stock:
    return Stock(lively)


@pytest.mark.parametrize("kind", CLICKS)
def test_masks_are_those_of_the_stock_model(sam3: Sam3, stock: Stock, kind: str) -> None:
    pixels = noise()
    expected, score = stock.mask(CLICKS[kind], pixels)
    _, ((found,),) = ask(sam3, asking(CLICKS[kind]), pixels)
    assert 0 < expected.sum() < expected.size
    assert np.count_nonzero(bits(found) != expected) == 0
    assert found.score == score
    rows, columns = np.nonzero(expected)
    assert found.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_an_earlier_mask_is_improved_as_by_the_stock_model(sam3: Sam3, stock: Stock) -> None:
    asked = CLICKS["several points"]
    _, ((first,),) = ask(sam3, asking(asked), noise())
    refined = asked.model_copy(update={"mask": first.mask})
    _, ((found,),) = ask(sam3, asking(refined), noise())
    expected, score = stock.mask(refined, noise())
    assert np.count_nonzero(bits(found) != expected) == 0
    assert found.score == score
    assert found.score != first.score, "the mask counts"


def test_clicks_change_the_mask(sam3: Sam3) -> None:
    _, found = ask(sam3, asking(*CLICKS.values()), noise())
    masks = {bits(each).tobytes() for (each,) in found}
    assert len(masks) > 2


def test_objects_are_answered_as_if_each_were_alone(sam3: Sam3, stock: Stock) -> None:
    _, found = ask(sam3, asking(*CLICKS.values()), noise())
    for (instance,), asked in zip(found, CLICKS.values(), strict=True):
        assert np.array_equal(bits(instance), stock.mask(asked, noise())[0])


def test_further_clicks_cost_no_vision_pass(sam3: Sam3, passes: Callable[[], int]) -> None:
    head, first = ask(sam3, asking(CLICKS["a point"]), noise())
    assert passes() == 1
    assert ask(sam3, asking(CLICKS["a point"]), noise())[1] == first
    known = {"image_id": head.image_id, "mask_pixels": WIDTH * HEIGHT}
    again, by_id = ask(sam3, asking(CLICKS["a point"], **known))
    assert (again.width, again.height, again.image_id, by_id) == (WIDTH, HEIGHT, head.image_id, first)
    assert passes() == 1


@pytest.mark.parametrize("first", ["concepts", "objects", "features"])
def test_concepts_and_objects_share_one_pass(sam3: Sam3, passes: Callable[[], int], first: str) -> None:
    concepts, objects = Query(prompts=[Prompt(text="cat", threshold=0)], max_instances=9), asking(CLICKS["a box"])
    queries = {"concepts": concepts, "objects": objects, "features": asking()}
    alone = [ask(sam3, query, noise(1))[1] for query in (concepts, objects)]
    sam3.recover()
    ask(sam3, queries[first], noise(1))
    assert [ask(sam3, query, noise(1))[1] for query in (concepts, objects)] == alone
    assert passes() == 2
    (kept,) = sam3._features._kept.values()
    assert kept.hidden is None, "both necks have used it"


def test_features_of_few_images_are_kept(sam3: Sam3) -> None:
    heads = [ask(sam3, asking(CLICKS["a box"]), noise(seed))[0] for seed in range(3)]
    assert len(sam3._features._kept) == 2
    with pytest.raises(WorkerError, match="keeps those of the last SAM3_CACHED_IMAGES images") as raised:
        ask(sam3, asking(CLICKS["a box"], image_id=heads[0].image_id, mask_pixels=WIDTH * HEIGHT))
    assert raised.value.reason == "image"
    assert ask(sam3, asking(CLICKS["a box"], image_id=heads[2].image_id, mask_pixels=WIDTH * HEIGHT))


def test_clicks_on_a_named_image_are_checked_against_its_size(lively: Path) -> None:
    session = Session(Setup(model=lively, dtype="auto", memory_mib=0, cached_images=1, log_level="error"))
    sam3 = session._sam3 = Sam3(lively, "auto", 0, 1)
    head, _ = ask(sam3, asking(CLICKS["a point"]), noise())
    cases = [
        (click((91, 1, 1)), WIDTH * HEIGHT, "prompt", "the point 91, 1 is outside the image"),
        (click(box=(95, 1, 99, 9)), WIDTH * HEIGHT, "prompt", "is outside the image"),
        (CLICKS["a point"], 1, "work", "send at most 1 prompts"),
    ]
    for asked, pixels, reason, says in cases:
        query = asking(asked, asked, image_id=head.image_id, mask_pixels=pixels)
        request = Segment(width=0, height=0, query=query, seconds=math.inf)
        reply = session.answer(request, bytearray(), Allowance(math.inf, lambda: False))
        assert isinstance(reply, Failed)
        assert (reply.reason, says in reply.message) == (reason, True), reply.message
    assert len(sam3._features._kept) == 1, "what one client does wrong costs no other its features"


def test_a_detector_alone_answers_prompts_and_refuses_objects(lively: Path, tmp_path: Path) -> None:
    shutil.copytree(lively, tmp_path, dirs_exist_ok=True)
    Sam3Model.from_pretrained(lively).save_pretrained(tmp_path)
    sam3 = Sam3(tmp_path, "float32", 0, 1)
    concepts = Query(prompts=[Prompt(text="cat", threshold=0)], max_instances=9)
    assert ask(sam3, concepts, noise())[1] == ask(Sam3(lively, "float32", 0, 1), concepts, noise())[1]
    (kept,) = sam3._features._kept.values()
    assert kept.hidden is None, "no tracker needs it"
    for query in (asking(CLICKS["a point"]), asking()):
        with pytest.raises(WorkerError, match=r"has no tracker weights .* all files of facebook/sam3") as raised:
            ask(sam3, query, noise())
        assert raised.value.reason == "unsupported"


def test_an_incomplete_tracker_is_not_loaded(lively: Path, tmp_path: Path) -> None:
    shutil.copytree(lively, tmp_path, dirs_exist_ok=True)
    tensors = load_file(lively / FILE)
    del tensors["tracker_model.mask_decoder.conv_s0.weight"]
    save_file(tensors, tmp_path / FILE, metadata={"format": "pt"})
    with pytest.raises(WorkerError, match=r"lack 1 of the tracker's weights: mask_decoder\.conv_s0\.weight"):
        Sam3(tmp_path, "float32", 0, 1)


@pytest.mark.parametrize("trunk", [torch.float16, torch.float32], ids=str)
def test_the_tracker_shares_the_backbone_and_is_in_float32(lively: Path, trunk: torch.dtype) -> None:
    network = Network(lively, trunk)
    assert network.tracker is not None
    tracker = network.tracker.model
    assert tracker.vision_encoder.backbone is network._model.vision_encoder.backbone
    stored = load_file(lively / FILE)
    own = {name: each for name, each in tracker.state_dict().items() if not name.startswith(BACKBONE)}
    for name, each in own.items():
        neck = name.removeprefix("vision_encoder.neck.")
        assert each.dtype is torch.float32
        assert torch.equal(each, stored[f"tracker_model.{name}" if neck == name else f"tracker_neck.{neck}"]), name
    every = [*network._model.parameters(), *tracker.parameters()]
    assert len({each.untyped_storage().data_ptr() for each in every}) == 1, "one buffer goes to the device"
    assert sum(each.numel() for each in {id(each): each for each in every}.values()) < count_weights(lively / FILE)


def test_half_precision_moves_few_pixels(lively: Path) -> None:
    masks = [
        np.stack([bits(each) for (each,) in ask(Sam3(lively, dtype, 0, 1), asking(*CLICKS.values()), noise())[1]])
        for dtype in ("float16", "float32")
    ]
    assert np.count_nonzero(masks[0] != masks[1]) / masks[0].size < 0.01
