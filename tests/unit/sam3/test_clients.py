"""What clients send and ask for without thinking of it: byte order marks, other base64, HEAD, boxes as parts, docs."""

import base64
import json
import re
from typing import Any

import pytest

from sam3_server.worker.protocol import Exemplar
from tests.unit.sam3.conftest import Resident, png

MARK = b"\xef\xbb\xbf"
CONTENT = {"content-type": "application/json"}
TEXT = base64.b64encode(png()).decode()
SEGMENT = {"image": TEXT, "prompts": ["cat"]}
CONCEPT = {"image": {"type": "base64", "value": TEXT}, "prompts": [{"type": "text", "text": "cat"}]}
UNLOAD = {"holder": "job/a", "fence": 1, "renew_key": "secret"}


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/segment", SEGMENT), ("/sam3/concept_segment", CONCEPT), ("/api/v1/unload", UNLOAD)],
)
async def test_a_byte_order_mark_before_json_is_passed_over(resident: Resident, path: str, body: Any) -> None:
    answer = await resident.client.post(path, content=MARK + json.dumps(body).encode(), headers=CONTENT)
    assert answer.status_code == 200, answer.text


async def test_a_byte_order_mark_before_the_json_of_a_form_is_passed_over(resident: Resident) -> None:
    fields = {"request": (MARK + b'{"prompts": ["cat"]}').decode()}
    answer = await resident.client.post("/api/v1/segment", files={"image": ("a", png())}, data=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("padded", [True, False])
async def test_url_safe_base64_is_the_same_image(resident: Resident, padded: bool) -> None:
    image = png(100, 100) + bytes(range(256)) * 3  # behind a PNG's end, which decoders ignore; in base64 it has + and /
    text = base64.urlsafe_b64encode(image).decode()
    assert {"-", "_"} <= set(text)
    body = SEGMENT | {"image": text if padded else text.rstrip("=")}
    answer = await resident.client.post("/api/v1/segment", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["width"] == 100


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/v1/gpu", "/metrics", "/openapi.json", "/docs"])
async def test_head_is_answered_as_get_is_without_a_body(resident: Resident, path: str) -> None:
    got, asked = await resident.client.get(path), await resident.client.head(path)
    assert (got.status_code, asked.status_code) == (200, 200)
    assert asked.content == b""
    assert got.content
    assert asked.headers["content-type"] == got.headers["content-type"]


async def test_head_is_not_answered_where_get_is_not(resident: Resident) -> None:
    assert (await resident.client.head("/api/v1/load")).status_code == 405
    assert (await resident.client.head("/nowhere")).status_code == 404


@pytest.mark.parametrize("box", [[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.9], [0, 0.5, 0.001, 1]])
async def test_relative_boxes_are_refused_with_advice(resident: Resident, box: Any) -> None:
    x1, y1, x2, y2 = box
    concept = {"type": "visual", "boxes": [{"x0": x1, "y0": y1, "x1": x2, "y1": y2}]}
    for path, body in (
        ("/api/v1/segment", SEGMENT | {"prompts": [{"exemplars": [{"box": box}]}]}),
        ("/sam3/concept_segment", CONCEPT | {"prompts": [concept]}),
    ):
        answer = await resident.client.post(path, json=body)
        assert answer.status_code == 422
        assert "boxes are given in pixels" in answer.json()["detail"]
        assert "8 and 6" in answer.json()["detail"]


async def test_a_box_around_few_pixels_is_one(resident: Resident) -> None:
    body = SEGMENT | {"prompts": [{"exemplars": [{"box": [0.5, 0.5, 2, 1]}]}]}
    assert (await resident.client.post("/api/v1/segment", json=body)).status_code == 200
    prompt = resident.script.launched[-1].queries[-1].prompts[0]
    assert prompt.exemplars == [Exemplar(box=(0.5, 0.5, 2, 1))]


async def test_the_documentation_needs_no_other_server(resident: Resident) -> None:
    page = await resident.client.get("/docs")
    assert page.status_code == 200
    needed = re.findall(r"""(?:src|href|url|spec-url)["']?\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert len(needed) >= 3
    for url in needed:
        assert url.startswith("/"), url
        assert (await resident.client.get(url)).status_code == 200, url
    assert "http" not in re.sub(r"<title>.*</title>", "", page.text)
