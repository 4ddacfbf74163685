"""`POST /sam3/visual_segment` and `/sam3/embed_image`: bodies of Roboflow's SDK, answers as it reads them."""

import base64
from typing import Any

import httpx
import pytest

from sam3_server.worker.protocol import ObjectPrompt, Point
from tests.unit.sam3.conftest import ASKED, Resident, png

IMAGE = {"type": "base64", "value": base64.b64encode(png()).decode()}
KNOWN = "5f" * 32
POINT = {"x": 2, "y": 3, "positive": True}
BESIDE = {"x": 7, "y": 1, "positive": False}
BOX = {"x": 4, "y": 3, "width": 4, "height": 2}


async def post(resident: Resident, **body: Any) -> httpx.Response:
    body = {"image": IMAGE, "prompts": {"prompts": [{"points": [POINT]}]}} | body
    said = {name: value for name, value in body.items() if value is not None}
    return await resident.client.post("/sam3/visual_segment?api_key=ignored", json=said)


def heard(resident: Resident) -> list[ObjectPrompt]:
    return resident.script.launched[-1].queries[-1].objects


async def test_points_and_boxes_get_one_prediction_each(resident: Resident) -> None:
    resident.script.image_id = KNOWN
    prompts = {"prompts": [{"points": [POINT, BESIDE]}, {"box": BOX}, {"points": [POINT], "box": BOX}]}
    answer = await post(resident, prompts=prompts, format="json", multimask_output=True, model_id="sam3/x")
    prediction = {"masks": [[[0, 0], [7, 0], [7, 5]]], "confidence": 0.75, "format": "polygon"}
    assert answer.json() == {"predictions": [prediction] * 3, "time": 0.25, "image_id": KNOWN}
    points = [Point(x=2, y=3), Point(x=7, y=1, positive=False)]
    around = (2.0, 2.0, 6.0, 4.0)
    assert heard(resident) == [
        ObjectPrompt(points=points, multimask=True),
        ObjectPrompt(box=around, multimask=True),
        ObjectPrompt(points=points[:1], box=around, multimask=True),
    ]


@pytest.mark.parametrize("prompts", [[{"points": [POINT]}], {"points": [POINT]}])
async def test_prompts_may_be_a_list_or_one_object(resident: Resident, prompts: Any) -> None:
    assert (await post(resident, prompts=prompts, multimask_output=False)).status_code == 200
    assert heard(resident) == [ObjectPrompt(points=[Point(x=2, y=3)], multimask=False)]


async def test_run_lengths(resident: Resident) -> None:
    body = (await post(resident, format="rle")).json()
    assert body["predictions"] == [{"masks": {"size": [6, 8], "counts": "04"}, "confidence": 0.75, "format": "rle"}]


async def test_a_box_is_clipped_to_the_image(resident: Resident) -> None:
    box = {"x": 4, "y": 3, "width": 100, "height": 2}
    assert (await post(resident, prompts=[{"box": box}])).status_code == 200
    assert heard(resident)[0].box == (0, 2, 8, 4)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompts": None}, "body.prompts"),
        ({"prompts": []}, "at least 1 item"),
        ({"prompts": {"prompts": []}}, "at least 1 item"),
        ({"prompts": [{}]}, "at least one positive point, or a box"),
        ({"prompts": [{"points": [BESIDE]}]}, "at least one positive point, or a box"),
        ({"prompts": [{"points": [POINT] * 65}]}, "at most 64 items"),
        ({"prompts": [{"points": [POINT]}] * 4}, "4 prompts and objects were sent, 3 are allowed"),
        ({"prompts": [{"points": [POINT | {"x": 9}]}]}, "the point 9, 3 is outside the image, which has 8 x 6 pixels"),
        ({"prompts": [{"points": [POINT | {"y": -1}]}]}, "is outside the image"),
        ({"prompts": [{"points": [POINT | {"x": "NaN"}]}]}, "finite"),
        ({"prompts": [{"points": [POINT | {"x": "1e999"}]}]}, "finite"),
        ({"prompts": [{"box": BOX | {"width": 0}}]}, "greater than 0"),
        ({"prompts": [{"box": BOX | {"x": 100}}]}, "is outside the image"),
        ({"prompts": [{"box": {"x": 0.5, "y": 0.5, "width": 1, "height": 1}}]}, "boxes are given in pixels"),
        ({"format": "binary"}, "body.format"),
        ({"image": {"type": "url", "value": "http://169.254.169.254/"}}, "body.image.type"),
        ({"image": None}, "send image"),
        ({"image": None, "image_id": "frame-7"}, "send image"),
    ],
)
async def test_what_makes_no_sense_is_refused(resident: Resident, body: dict[str, Any], says: str) -> None:
    answer = await post(resident, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not resident.script.launched


async def test_an_image_may_be_named_by_its_id(resident: Resident) -> None:
    assert (await post(resident, image=None, image_id=KNOWN)).status_code == 200
    worker = resident.script.launched[-1]
    assert (worker.queries[-1].image_id, worker.queries[-1].mask_pixels) == (KNOWN, ASKED.mask_pixels)
    assert (worker.images[-1].width, worker.images[-1].strips) == (0, ())


async def test_an_image_that_is_sent_goes_before_its_id(resident: Resident) -> None:
    assert (await post(resident, image_id="frame-7")).status_code == 200
    assert resident.script.launched[-1].queries[-1].image_id is None


@pytest.mark.parametrize(("asked", "answered"), [({"image_id": "frame-7"}, "frame-7"), ({}, KNOWN)])
async def test_an_image_is_embedded(resident: Resident, asked: dict[str, Any], answered: str) -> None:
    resident.script.image_id = KNOWN
    answer = await resident.client.post("/sam3/embed_image", json={"image": IMAGE} | asked)
    assert answer.json() == {"image_id": answered, "time": 0.25}
    query = resident.script.launched[-1].queries[-1]
    assert (query.prompts, query.objects, query.needs_tracker) == ([], [], True)


async def test_an_image_to_embed_must_be_sent(resident: Resident) -> None:
    answer = await resident.client.post("/sam3/embed_image", json={"image_id": KNOWN})
    assert answer.status_code == 422
    assert "body.image" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["visual_segment", "embed_image"])
async def test_while_held_they_are_refused_like_the_others(resident: Resident, path: str) -> None:
    await resident.unload()
    answer = await resident.client.post(f"/sam3/{path}", json={"image": IMAGE, "prompts": [{"points": [POINT]}]})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
