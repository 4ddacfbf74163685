"""`POST /v1/predict`: bodies as X-AnyLabeling sends them, answers as it reads them."""

import base64
from typing import Any

import httpx
import pytest

from residency.api.auth import TokenFile
from sam3_server.worker.protocol import Exemplar, Prompt
from tests.unit.sam3.conftest import Resident, png

IMAGE = "data:image/png;base64," + base64.b64encode(png()).decode()
SENT = {"conf_threshold": 0.4, "iou_threshold": 0.0, "epsilon_factor": 0.001, "filter_classes": []}
"""What X-AnyLabeling 4.2 sends with every request."""


async def predict(resident: Resident, **params: Any) -> httpx.Response:
    body = {"model": "segment_anything_3", "image": IMAGE, "params": SENT | params}
    return await resident.client.post("/v1/predict", json=body, headers={"Token": ""})


def asked(resident: Resident) -> list[Prompt]:
    prompts: list[Prompt] = resident.script.launched[-1].queries[-1].prompts
    return prompts


async def test_texts_become_prompts_and_label_the_shapes(resident: Resident) -> None:
    answer = (await predict(resident, text_prompt="dog, red car,,dog ")).json()
    assert asked(resident) == [Prompt(text="dog", threshold=0.4), Prompt(text="red car", threshold=0.4, class_id=1)]
    assert (answer["success"], answer["data"]["description"], answer["data"]["replace"]) == (True, "", None)
    shapes = answer["data"]["shapes"]
    assert [shape["label"] for shape in shapes] == ["dog", "red car"]
    assert shapes[0] == {
        "label": "dog", "shape_type": "polygon", "points": [[0, 0], [7, 0], [7, 5], [0, 0]], "score": 0.75,
        "attributes": {}, "description": "", "difficult": False, "direction": 0, "flags": {}, "group_id": None,
        "kie_linking": [],
    }  # fmt: skip


async def test_full_stops_separate_texts_where_there_is_no_comma(resident: Resident) -> None:
    await predict(resident, text_prompt="person. red car")
    assert [prompt.text for prompt in asked(resident)] == ["person", "red car"]


async def test_boxes_go_before_texts(resident: Resident) -> None:
    marks = [
        {"type": "rectangle", "label": 1, "data": [6, 5, 1, 2]},
        {"type": "rectangle", "label": 0, "data": [0, 0, 2, 2]},
    ]
    answer = (await predict(resident, text_prompt="dog", marks=marks)).json()
    boxes = [Exemplar(box=(1, 2, 6, 5)), Exemplar(box=(0, 0, 2, 2), positive=False)]
    assert asked(resident) == [Prompt(exemplars=boxes, threshold=0.4)]
    assert [shape["label"] for shape in answer["data"]["shapes"]] == ["AUTOLABEL_OBJECT"]


@pytest.mark.parametrize(
    ("params", "where", "why"),
    [
        ({}, "body.params", "write what to find"),
        ({"text_prompt": " , "}, "body.params", "write what to find"),
        ({"marks": [{"type": "point", "label": 1, "data": [1, 1]}]}, "body.params.marks.0.type", "rectangle"),
        ({"marks": [{"type": "rectangle", "label": 0, "data": [1, 1, 2, 2]}]}, "body.params", "positive exemplar"),
        ({"marks": [{"type": "rectangle", "label": 1, "data": [1, 1, 1, 2]}]}, "body.params", "x1 < x2"),
        ({"text_prompt": "a,b,c,d"}, "body.prompts", "4 prompts were sent, 3 are allowed"),
        ({"text_prompt": "x" * 600}, "body.params.text", "512"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_reason(
    resident: Resident, params: dict[str, Any], where: str, why: str
) -> None:
    """X-AnyLabeling shows the status; it takes an answer 200 with an error for one without shapes."""
    refused = await predict(resident, **params)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert where in {each["in"] for each in refused.json()["errors"]}
    assert why in refused.text


async def test_the_slider_says_how_many_points_an_outline_has(resident: Resident) -> None:
    teeth = [float(value) for x in range(9) for value in (x, x % 2 * 2)]
    resident.script.outline = [*teeth, 8.0, 60.0, 0.0, 60.0]
    points = [
        len((await predict(resident, text_prompt="dog", epsilon_factor=factor)).json()["data"]["shapes"][0]["points"])
        for factor in (0.001, 0.05)
    ]
    assert points[0] > points[1] > 3


async def test_another_model_is_refused(resident: Resident) -> None:
    body = {"model": "yolo11", "image": IMAGE, "params": SENT | {"text_prompt": "dog"}}
    refused = await resident.client.post("/v1/predict", json=body)
    assert refused.status_code == 422
    assert "segment_anything_3" in refused.text


async def test_while_the_gpu_is_lent_out_it_says_when_to_come_again(resident: Resident) -> None:
    await resident.unload()
    refused = await predict(resident, text_prompt="dog")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0


async def test_the_model_is_listed_with_its_controls(resident: Resident, tmp_path: Any) -> None:
    listed = (await resident.client.get("/v1/models")).json()
    model = listed["data"]["segment_anything_3"]
    assert model["display_name"] == "Segment Anything 3"
    assert {"edit_text", "button_send", "add_pos_rect", "add_neg_rect", "button_run_rect", "edit_conf"} <= {
        widget["name"] for widget in model["widgets"]
    }
    resident.app.state.inference_access = TokenFile(tmp_path / "none")
    assert (await resident.client.get("/v1/models", headers={"Token": ""})).status_code == 401
