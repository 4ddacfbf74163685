"""Single objects in `POST /api/v1/segment`: what may be asked, what the worker then hears, and what is refused."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

from sam3_server.intake.run_lengths import decode, require_valid
from sam3_server.worker.protocol import ObjectPrompt, Point
from tests.unit.sam3.conftest import Resident, png

TEXT = base64.b64encode(png()).decode()
KNOWN = "5f" * 32
EMPTY = {"size": [6, 8], "counts": "`1"}
CLICK = {"points": [{"x": 2, "y": 3}]}


async def post(resident: Resident, **body: Any) -> httpx.Response:
    said = {name: value for name, value in ({"image": TEXT} | body).items() if value is not None}
    return await resident.client.post("/api/v1/segment", json=said)


async def test_objects_have_results_after_those_of_prompts(resident: Resident) -> None:
    resident.script.image_id = KNOWN
    objects = [CLICK, {"box": [1, 1, 5, 4], "class_id": 9}]
    answer = (await post(resident, prompts=["cat"], objects=objects)).json()
    assert answer["image_id"] == KNOWN
    assert [(each["prompt"], each["class_id"]) for each in answer["results"]] == [
        ("cat", 0), ("object", 1), ("object", 9),
    ]  # fmt: skip
    query = resident.script.launched[-1].queries[-1]
    assert query.objects == [
        ObjectPrompt(points=[Point(x=2, y=3)], multimask=True, class_id=1),
        ObjectPrompt(box=(1, 1, 5, 4), multimask=False, class_id=9),
    ]


async def test_a_form_can_ask_for_objects(resident: Resident) -> None:
    fields = {"request": '{"objects": [{"points": [{"x": 2, "y": 3}, {"x": 7, "y": 1, "positive": false}]}]}'}
    answer = await resident.client.post("/api/v1/segment", files={"image": ("a", png())}, data=fields)
    assert [each["prompt"] for each in answer.json()["results"]] == ["object"]
    assert not resident.script.launched[-1].queries[-1].objects[0].multimask


async def test_an_earlier_mask_is_improved_by_a_point_beside(resident: Resident) -> None:
    mask = {"size": [6, 8], "counts": coco.encode(np.asfortranarray(np.eye(6, 8, dtype=np.uint8)))["counts"].decode()}
    beside = {"points": [{"x": 2, "y": 3, "positive": False}], "mask": mask}
    assert (await post(resident, objects=[beside])).status_code == 200
    (heard,) = resident.script.launched[-1].queries[-1].objects
    assert heard.mask is not None
    assert (heard.mask.model_dump(mode="json"), heard.multimask) == (mask, False)


@pytest.mark.parametrize("asked", [{"prompts": ["cat"]}, {"objects": [CLICK]}])
async def test_the_image_may_be_named_by_its_id(resident: Resident, asked: dict[str, Any]) -> None:
    assert (await post(resident, image=None, image_id=KNOWN, **asked)).status_code == 200
    assert resident.script.launched[-1].queries[-1].image_id == KNOWN


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "at least one of prompts (concepts) or of objects"),
        ({"objects": [{}]}, "at least one positive point, or a box"),
        ({"objects": [{"points": [{"x": 1, "y": 1, "positive": False}]}]}, "at least one positive point, or a box"),
        ({"objects": [{"box": [3, 3, 3, 4]}]}, "x1 < x2"),
        ({"objects": [{"points": [{"x": 1}]}]}, "body.objects.0.points.0.y"),
        ({"objects": [{"points": [{"x": 1, "y": 1, "label": 1}]}]}, "body.objects.0.points.0.label"),
        ({"objects": [{"points": [{"x": 20, "y": 1}]}]}, "the point 20, 1 is outside the image"),
        ({"objects": [CLICK] * 4}, "4 prompts and objects were sent, 3 are allowed"),
        ({"objects": [{"mask": EMPTY}]}, "a mask needs at least one point"),
        ({"objects": [CLICK | {"mask": EMPTY | {"size": [7, 8]}}]}, "not the run lengths of a mask of this size"),
        ({"objects": [CLICK | {"mask": EMPTY | {"size": [0, 8]}}]}, "body.objects.0.mask.size.0"),
        ({"objects": [CLICK | {"mask": {"size": [8, 6], "counts": EMPTY["counts"]}}]}, "the mask has 6 x 8 pixels"),
        ({"objects": [CLICK | {"mask": EMPTY | {"counts": "!"}}]}, "not in COCO's compressed form"),
        ({"objects": [CLICK | {"mask": EMPTY | {"counts": "`"}}]}, "end within a number"),
        ({"objects": [CLICK | {"mask": EMPTY | {"counts": "o" * 9}}]}, "not in COCO's compressed form"),
        ({"objects": [CLICK | {"mask": EMPTY | {"counts": "0" * 200_000}}]}, "at most 131072 characters"),
        ({"objects": [CLICK | {"mask": EMPTY | {"counts": "@a1"}}]}, "not the run lengths"),
        ({"objects": [CLICK], "image": None}, "send image, or the image_id"),
        ({"objects": [CLICK], "image_id": KNOWN}, "send image, or the image_id"),
        ({"objects": [CLICK], "image": None, "image_id": "frame-7"}, "body.image_id"),
        ({"objects": [CLICK], "image": None, "image_id": KNOWN.upper()}, "body.image_id"),
    ],
)
async def test_what_makes_no_sense_is_refused(resident: Resident, body: dict[str, Any], says: str) -> None:
    answer = await post(resident, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not resident.script.launched


async def test_each_object_counts_as_a_mask(resident: Resident) -> None:
    """Of 15,000 pixels of masks, an image of 90 x 100 has room for one."""
    image = base64.b64encode(png(90, 100)).decode()
    answer = await post(resident, image=image, prompts=["cat"], objects=[CLICK])
    assert answer.status_code == 422
    assert "send at most 1 prompts at a time" in answer.json()["detail"]


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_read_as_pycocotools_writes_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    bits = np.repeat(random.integers(0, 2, (37, 5), dtype=np.uint8), random.integers(1, 300), axis=1)
    counts = coco.encode(np.asfortranarray(bits))["counts"].decode()
    require_valid(counts, bits.size)
    flat = bits.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]]))))
    assert decode(counts) == np.diff(np.concatenate(([0], edges))).tolist()
    with pytest.raises(ValueError, match="not the run lengths"):
        require_valid(counts, bits.size + 1)
