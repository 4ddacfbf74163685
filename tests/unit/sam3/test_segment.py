"""`POST /api/v1/segment`: what may be asked and how, what the worker then hears, and what is refused."""

import base64
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image

from sam3_server.worker.protocol import Exemplar, Prompt, Query
from tests.unit.sam3.conftest import Resident, png

TEXT = base64.b64encode(png()).decode()
MOST = 50


async def post(resident: Resident, **body: Any) -> httpx.Response:
    return await resident.client.post("/api/v1/segment", json={"image": TEXT, "prompts": ["cat"]} | body)


async def form(resident: Resident, image: bytes | None = None, **fields: Any) -> httpx.Response:
    files = {"image": ("image.png", png() if image is None else image)}
    return await resident.client.post("/api/v1/segment", files=files, data=fields)


def heard(resident: Resident) -> Query:
    """What was asked, without what the server adds."""
    return resident.script.launched[-1].queries[-1].model_copy(update={"max_masks": None})


async def test_one_result_per_prompt_in_order(resident: Resident) -> None:
    answer = await resident.segment("cat", "red dog", threshold="0.9")
    assert answer.json() == {
        "width": 8,
        "height": 6,
        "model_seconds": 0.25,
        "results": [
            {
                "prompt": prompt,
                "class_id": number,
                "omitted": 0,
                "detections": [{"box": [0, 0, 8, 6], "score": 0.9, "mask": {"size": [6, 8], "counts": "04"}}],
            }
            for number, prompt in enumerate(("cat", "red dog"))
        ],
    }


async def test_a_text_in_json_is_a_prompt_with_everything_by_default(resident: Resident) -> None:
    answer = await post(resident)
    assert answer.status_code == 200
    assert heard(resident) == Query(prompts=[Prompt(text="cat")], max_instances=MOST)
    assert resident.script.launched[-1].images[-1].strips == (bytes([255, 0, 0] * 48),)


async def test_json_can_say_everything(resident: Resident) -> None:
    exemplars = [{"box": [-3, 0, 4, 99]}, {"box": [1, 1, 2, 2], "positive": False}]
    prompts = ["cat", {"text": " red dog ", "threshold": 0, "class_id": 7}, {"exemplars": exemplars}]
    answer = await post(
        resident, prompts=prompts, threshold=0.25, format="polygon", yolo_labels="box", max_instances=9, nms_iou=0.5
    )
    assert heard(resident) == Query(
        prompts=[
            Prompt(text="cat", threshold=0.25, class_id=0),
            Prompt(text="red dog", threshold=0.0, class_id=7),
            Prompt(
                exemplars=[Exemplar(box=(0, 0, 4, 6)), Exemplar(box=(1, 1, 2, 2), positive=False)],
                threshold=0.25,
                class_id=2,
            ),
        ],
        form="polygon",
        labels="box",
        max_instances=9,
        nms_iou=0.5,
    )
    body = answer.json()
    assert [result["prompt"] for result in body["results"]] == ["cat", "red dog", "visual"]
    assert set(body["results"][0]["detections"][0]) == {"box", "score", "polygons"}
    assert body["yolo_labels"] == "0 0.5 0.5 1 1\n7 0.5 0.5 1 1\n2 0.5 0.5 1 1\n"


async def test_boxes_only_have_no_shape(resident: Resident) -> None:
    body = (await post(resident, format="box")).json()
    assert set(body["results"][0]["detections"][0]) == {"box", "score"}
    assert "yolo_labels" not in body


async def test_a_form_says_the_same_by_simple_fields_or_by_json(resident: Resident) -> None:
    classes = {"prompt": ["cat", "dog"], "class_id": ["3", "3"]}
    assert (await form(resident, None, **classes, threshold="0.3", format="box", nms_iou="0.4")).status_code == 200
    first = heard(resident)
    prompts = [{"text": "cat", "class_id": 3}, {"text": "dog", "class_id": 3}]
    request = json.dumps({"prompts": prompts, "threshold": 0.3, "format": "box", "nms_iou": 0.4})
    assert (await form(resident, request=request)).status_code == 200
    assert heard(resident) == first
    assert [prompt.class_id for prompt in first.prompts] == [3, 3]


@pytest.mark.parametrize(
    "text",
    [
        f"data:image/png;base64,{TEXT}",
        TEXT.rstrip("="),
        "\r\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76)),
    ],
    ids=["data URI", "no padding", "lines"],
)
async def test_base64_as_people_write_it(resident: Resident, text: str) -> None:
    assert (await post(resident, image=text)).status_code == 200


async def test_exemplars_are_on_the_upright_image(resident: Resident) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG", exif=exif)
    image = base64.b64encode(buffer.getvalue()).decode()
    prompts = [{"exemplars": [{"box": [0, 7, 6, 8]}]}]
    assert (await post(resident, image=image, prompts=prompts)).status_code == 200
    assert heard(resident).prompts[0].exemplars == [Exemplar(box=(0, 7, 6, 8))]


BOX = {"box": [1, 1, 3, 3]}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"prompts": []}, 422, "at least one of prompts"),
        ({"prompts": ["a", "b", "c", "d"]}, 422, "4 prompts were sent, 3 are allowed"),
        ({"prompts": [" "]}, 422, "at least 1 character"),
        ({"prompts": ["x" * 513]}, 422, "at most 512 characters"),
        ({"prompts": [{"exemplars": []}]}, 422, "a prompt needs a text, or at least one positive exemplar"),
        ({"prompts": [{"exemplars": [BOX | {"positive": False}]}]}, 422, "at least one positive exemplar"),
        ({"prompts": [{"exemplars": [{"box": [3, 1, 1, 3]}]}]}, 422, "x1 < x2"),
        ({"prompts": [{"exemplars": [{"box": [1, 1, 3]}]}]}, 422, "body.prompts.0.exemplars.0.box.3"),
        ({"prompts": [{"exemplars": [{"box": [8, 1, 9, 3]}]}]}, 422, "outside the image, which has 8 x 6 pixels"),
        ({"prompts": [{"exemplars": [BOX] * 33}]}, 422, "at most 32 items"),
        ({"prompts": [{"text": "cat", "class_id": -1}]}, 422, "class_id"),
        ({"prompts": [{"text": "cat", "treshold": 1}]}, 422, "treshold: Extra inputs are not permitted"),
        ({"threshold": 1.5}, 422, "threshold"),
        ({"nms_iou": -0.1}, 422, "nms_iou"),
        ({"max_instances": 0}, 422, "max_instances"),
        ({"max_instances": MOST + 1}, 422, "50 instances are allowed"),
        ({"format": "png"}, 422, "'rle', 'polygon' or 'box'"),
        ({"image": "!"}, 422, "not base64"),
        ({"image": "A"}, 422, "not base64"),
        ({"image": "é"}, 422, "not base64"),
        ({"image": "data:image/png,x"}, 422, "data:<media type>;base64,<text>"),
        ({"image": base64.b64encode(b"%PDF").decode()}, 422, "unknown format"),
        ({"image": base64.b64encode(png(101, 100)).decode()}, 413, "scale it down"),
        ({"image": base64.b64encode(bytes((1 << 20) + 1)).decode()}, 413, "more than 1 MiB"),
        ({"image": None}, 422, "send image, or the image_id"),
    ],
)
async def test_what_json_may_not_ask(resident: Resident, body: dict[str, Any], status: int, says: str) -> None:
    answer = await post(resident, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({}, 422, "say what to look for"),
        ({"prompt": ["cat"], "threshold": "nan"}, 422, "threshold"),
        ({"prompt": ["cat"], "image": b"%PDF"}, 422, "unknown format"),
        ({"prompt": ["cat"], "image": png(101, 100)}, 413, "scale it down"),
        ({"prompt": ["cat"], "image": bytes(3 << 20)}, 413, "MiB; send a smaller image"),
        ({"prompt": ["cat", "dog"], "class_id": ["1"]}, 422, "1 classes were sent for 2 prompts"),
        ({"prompt": ["cat"], "class_id": ["one"]}, 422, "body.prompts.0.class_id"),
        ({"prompt": ["cat"], "threshold": ["0.1", "0.2"]}, 422, "may be sent once"),
        ({"prompt": ["cat"], "request": "{}"}, 422, "no further field (prompt was sent)"),
        ({"request": "{}"}, 422, "body.request: Value error, send at least one of prompts"),
        ({"request": "no JSON"}, 422, "Invalid JSON"),
        ({"prompt": ["cat"], "colour": "red"}, 422, "body.colour"),
    ],
)
async def test_what_a_form_may_not_ask(resident: Resident, fields: dict[str, Any], status: int, says: str) -> None:
    answer = await form(resident, fields.pop("image", None), **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not resident.script.launched


@pytest.mark.parametrize(
    ("kind", "content", "status"),
    [
        ("text/plain", b"hello", 415),
        (None, b"", 415),
        ("application/json", b"{", 422),
        ("application/json", b'{"image": "\\ud800", "prompts": ["\\ud800"]}', 422),
        ("application/json", b"\xff\xfe", 422),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"--y", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nx', 422),
        ("multipart/form-data; boundary=\xe9", b"", 422),
    ],
)
async def test_bodies_that_are_neither(resident: Resident, kind: str | None, content: bytes, status: int) -> None:
    headers = [] if kind is None else [(b"content-type", kind.encode("latin-1"))]
    answer = await resident.client.post("/api/v1/segment", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_an_image_sent_as_text_of_a_form_is_asked_for_as_a_file(resident: Resident) -> None:
    fields = {"image": (None, TEXT), "prompt": (None, "cat")}
    answer = await resident.client.post("/api/v1/segment", files=fields)
    assert answer.status_code == 422
    assert "send the image as a file" in answer.json()["detail"]


async def test_the_document_has_every_body_with_examples(resident: Resident) -> None:
    document = (await resident.client.get("/openapi.json")).json()
    content = document["paths"]["/api/v1/segment"]["post"]["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    for kind in ("application/json", "multipart/form-data"):
        assert content[kind]["schema"]["$ref"].removeprefix("#/components/schemas/") in schemas
    for example in schemas["SegmentRequest"]["examples"]:
        answer = await resident.client.post("/api/v1/segment", json=example)
        assert answer.status_code == 200, answer.text
    assert schemas["SegmentResponse"]["examples"]
    references = set(_references(document))
    assert references <= {f"#/components/schemas/{name}" for name in schemas}


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        yield from (found for value in node.values() for found in _references(value))
    elif isinstance(node, list):
        yield from (found for value in node for found in _references(value))
