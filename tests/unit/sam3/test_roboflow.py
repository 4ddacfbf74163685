"""`POST /sam3/concept_segment`: bodies as Roboflow's documentation has them, answers as its clients read them."""

import base64
from typing import Any

import httpx
import pytest

from sam3_server.worker.protocol import Exemplar, Prompt
from tests.unit.sam3.conftest import Resident, png

IMAGE = {"type": "base64", "value": base64.b64encode(png()).decode()}
TEXT = {"type": "text", "text": "dog"}
VISUAL = {
    "type": "visual",
    "text": "cat",
    "boxes": [{"x": 1, "y": 2, "width": 3, "height": 4}, {"x0": 4, "y0": 0, "x1": 8, "y1": 3}],
    "box_labels": [1, 0],
}


async def post(resident: Resident, **body: Any) -> httpx.Response:
    url = "/sam3/concept_segment?api_key=ignored"
    return await resident.client.post(url, json={"image": IMAGE, "prompts": [TEXT]} | body)


async def test_text_and_boxes_in_one_request(resident: Resident) -> None:
    body = {"prompts": [TEXT, VISUAL], "output_prob_thresh": 0.35, "model_id": "sam3/sam3_final", "image_id": None}
    answer = await post(resident, **body, nms_iou_threshold=0.6)
    assert answer.json() == {
        "prompt_results": [
            {
                "prompt_index": index,
                "echo": {"prompt_index": index, "type": kind, "text": text, "num_boxes": boxes},
                "predictions": [{"masks": [[[0, 0], [7, 0], [7, 5]]], "confidence": 0.75, "format": "polygon"}],
            }
            for index, (kind, text, boxes) in enumerate([("text", "dog", 0), ("visual", "cat", 2)])
        ],
        "time": 0.25,
    }
    query = resident.script.launched[-1].queries[-1]
    boxes = [Exemplar(box=(1, 2, 4, 6)), Exemplar(box=(4, 0, 8, 3), positive=False)]
    assert query.prompts == [
        Prompt(text="dog", threshold=0.35),
        Prompt(text="cat", exemplars=boxes, threshold=0.35, class_id=1),
    ]
    assert (query.form, query.nms_iou) == ("polygon", 0.6)


async def test_a_prompts_threshold_goes_before_the_requests(resident: Resident) -> None:
    await post(resident, prompts=[TEXT | {"output_prob_thresh": 0.9}], output_prob_thresh=None)
    assert resident.script.launched[-1].queries[-1].prompts[0].threshold == 0.9


async def test_run_lengths(resident: Resident) -> None:
    body = (await post(resident, format="rle")).json()
    prediction = {"masks": {"size": [6, 8], "counts": "04"}, "confidence": 0.75, "format": "rle"}
    assert body["prompt_results"][0]["predictions"] == [prediction]


async def test_json_means_polygons(resident: Resident) -> None:
    body = (await post(resident, format="json")).json()
    assert body["prompt_results"][0]["predictions"][0]["format"] == "polygon"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"image": {"type": "url", "value": "http://169.254.169.254/"}}, "body.image.type"),
        ({"image": {"type": "base64", "value": "?"}}, "not base64"),
        ({"prompts": []}, "at least 1 item"),
        ({"prompts": [{"type": "text"}]}, "needs a text"),
        ({"prompts": [{"type": "visual", "text": "cat"}]}, "requires at least one box"),
        ({"prompts": [VISUAL | {"box_labels": [1]}]}, "one entry for each box"),
        ({"prompts": [VISUAL | {"boxes": [{"x": 1, "y": 1, "width": 0, "height": 1}], "box_labels": None}]}, "x1 < x2"),
        ({"prompts": [TEXT] * 4}, "4 prompts were sent, 3 are allowed"),
        ({"format": "binary"}, "body.format"),
        ({"output_prob_thresh": 2}, "output_prob_thresh"),
    ],
)
async def test_what_makes_no_sense_is_refused(resident: Resident, body: dict[str, Any], says: str) -> None:
    answer = await post(resident, **body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert not resident.script.launched


async def test_while_held_it_is_refused_like_the_other_route(resident: Resident) -> None:
    await resident.unload()
    answer = await post(resident)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
