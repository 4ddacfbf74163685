"""`POST /api/v1/segment` with several images: an entry for each, and what ends the whole request."""

import asyncio
import base64
import gc
import json
import os
import weakref
from typing import Any

import httpx
import pytest

from sam3_server import memory_files
from sam3_server.intake.body import Body
from sam3_server.serving import segmentation
from tests.unit.sam3.conftest import Resident, png
from tests.unit.sam3.test_disconnects import Client

SIZES = [(8, 6), (9, 5), (10, 4)]
CPU = pytest.mark.parametrize("resident", [{"fallback": True}], indirect=True)
SINGLE = (
    b'{"width":8,"height":6,"model_seconds":0.25,"results":[{"prompt":"cat","class_id":0,"detections":'
    b'[{"box":[0.0,0.0,8.0,6.0],"score":0.75,"mask":{"size":[6,8],"counts":"04"}}],"omitted":0}]}'
)
SINGLE_HEADERS = [(b"content-length", str(len(SINGLE)).encode()), (b"content-type", b"application/json")]


def texts(*images: bytes) -> list[str]:
    return [base64.b64encode(each).decode() for each in images]


IMAGES = [png(*size) for size in SIZES]


async def post(resident: Resident, *images: bytes, **more: Any) -> httpx.Response:
    body = {"images": texts(*images), "prompts": ["cat"]} | more
    return await resident.client.post("/api/v1/segment", json=body)


async def form(resident: Resident, *images: bytes, **fields: Any) -> httpx.Response:
    files = [("images", (f"{place}.png", image)) for place, image in enumerate(images)]
    return await resident.client.post("/api/v1/segment", files=files, data={"prompt": ["cat"]} | fields)


def statuses(answer: httpx.Response) -> list[int]:
    """The status of each entry; 200 for an answer."""
    return [entry.get("status", 200) for entry in answer.json()["images"]]


async def test_one_image_is_answered_byte_for_byte_as_before(resident: Resident) -> None:
    (text,) = texts(png())
    for body in ({"image": text, "prompts": ["cat"]}, {"image": text, "prompts": ["cat"], "images": None}):
        answer = await resident.client.post("/api/v1/segment", json=body)
        assert (answer.content, answer.headers.raw) == (SINGLE, SINGLE_HEADERS)
    answer = await resident.segment()
    assert (answer.content, answer.headers.raw) == (SINGLE, SINGLE_HEADERS)


@pytest.mark.parametrize("send", [post, form])
async def test_each_image_gets_its_answer_in_order(resident: Resident, send: Any) -> None:
    answer = await send(resident, *IMAGES)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert int(answer.headers["content-length"]) == len(answer.content)
    alone = [(await resident.segment(image=image)).json() for image in IMAGES]
    assert answer.json() == {"images": alone}
    assert [(entry["width"], entry["height"]) for entry in alone] == SIZES


async def test_a_single_image_may_be_sent_as_several(resident: Resident) -> None:
    assert (await post(resident, png())).content == b'{"images":[' + SINGLE + b"]}"


async def test_prompts_and_parameters_apply_to_each_image(resident: Resident) -> None:
    prompts = ["cat", {"text": "dog", "class_id": 7}]
    request = {"prompts": prompts, "threshold": 0.9, "yolo_labels": "box", "format": "box"}
    answer = await post(resident, *IMAGES, **request)
    assert [entry["yolo_labels"] for entry in answer.json()["images"]] == ["0 0.5 0.5 1 1\n7 0.5 0.5 1 1\n"] * 3
    files = [("images", ("a.png", image)) for image in IMAGES]
    data = {"request": json.dumps(request)}
    assert (await resident.client.post("/api/v1/segment", files=files, data=data)).json() == answer.json()


async def test_an_error_about_one_image_does_not_end_the_others(resident: Resident) -> None:
    boxes = [{"exemplars": [{"box": [8, 1, 12, 4]}]}]  # outside the first image
    answer = await post(resident, png(), b"%PDF", png(101, 100), png(20, 10), prompts=boxes)
    assert answer.status_code == 200
    assert statuses(answer) == [422, 422, 413, 200]
    outside, unknown, large, _ = answer.json()["images"]
    assert "outside the image, which has 8 x 6 pixels" in outside["detail"]
    assert "unknown format" in unknown["detail"]
    assert (large["type"], large["title"]) == ("about:blank", "Request Entity Too Large")
    for image, entry in ((b"%PDF", unknown), (png(101, 100), large)):
        alone = await resident.client.post("/api/v1/segment", json={"image": texts(image)[0], "prompts": boxes})
        assert alone.json() == entry


async def test_a_text_that_is_no_base64_is_an_error_of_its_image(resident: Resident) -> None:
    body = {"images": ["é", *texts(png())], "prompts": ["cat"]}
    answer = await resident.client.post("/api/v1/segment", json=body)
    assert statuses(answer) == [422, 200]
    assert "not base64" in answer.json()["images"][0]["detail"]


async def test_broken_images_alone_are_no_error_of_the_request(resident: Resident) -> None:
    answer = await post(resident, b"%PDF", b"")
    assert (answer.status_code, statuses(answer)) == (200, [422, 422])
    assert not resident.script.launched


POINT = [{"points": [{"x": 1, "y": 1}]}]


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"images": []}, 422, "body.images: List should have at least 1 item"),
        ({"images": texts(png()) * 17}, 422, "body.images: List should have at most 16 items"),
        ({"image": "QUJD"}, 422, "send either images, or one image or image_id"),
        ({"image_id": "5f" * 32}, 422, "send either images, or one image or image_id"),
        ({"objects": POINT}, 422, "body.objects: send objects with one image"),
        ({"images": [1]}, 422, "body.images.0: Input should be a valid string"),
        ({"prompts": []}, 422, "send at least one of prompts"),
        ({"prompts": ["cat"] * 4}, 422, "4 prompts were sent, 3 are allowed"),
    ],
    ids=["none", "17", "one besides", "an id besides", "objects", "a number", "no prompt", "many prompts"],
)
async def test_what_json_may_not_ask(resident: Resident, more: dict[str, Any], status: int, says: str) -> None:
    answer = await post(resident, *IMAGES, **more)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not resident.script.launched


ONE = ("image", ("a.png", png()))
MANY = ("images", ("a.png", png()))
TEXT = ("images", (None, "text"))


@pytest.mark.parametrize(
    ("files", "data", "says"),
    [
        ([MANY] * 17, {}, "body.images: 17 images were sent, 16 are allowed"),
        ([MANY, ONE], {}, "body.images: send either image or images"),
        ([MANY, TEXT], {}, "body.images: send the images as files"),
        ([ONE, ONE], {}, "body.image: this field may be sent once"),
        ([MANY], {"request": json.dumps({"objects": POINT})}, "body.objects: send objects with one image"),
        ([MANY], {"prompt": []}, "say what to look for"),
    ],
    ids=["17", "one besides", "a text", "image twice", "objects", "no prompt"],
)
async def test_what_a_form_may_not_ask(resident: Resident, files: Any, data: dict[str, Any], says: str) -> None:
    data = data or {"prompt": ["cat"]}
    answer = await resident.client.post("/api/v1/segment", files=files, data=data)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not resident.script.launched


async def test_all_images_share_the_byte_limit_of_a_body(resident: Resident) -> None:
    answer = await form(resident, *[bytes(1 << 20)] * 3)
    assert (answer.status_code, "MiB; send a smaller image" in answer.json()["detail"]) == (413, True)
    large = await form(resident, bytes((1 << 20) + 1), png())
    assert (large.status_code, statuses(large)) == (200, [413, 200])


async def test_no_image_is_begun_after_too_many_bytes_of_answers(
    resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "MOST_ANSWER_BYTES", 2 * len(SINGLE) - 1)
    answer = await post(resident, *[png()] * 4)
    assert (answer.status_code, statuses(answer)) == (200, [200, 200, 422, 422])
    assert "send this image in another request" in answer.json()["images"][3]["detail"]
    assert len(resident.script.launched[0].images) == 2


async def test_a_held_gpu_refuses_the_whole_request(resident: Resident) -> None:
    await resident.unload(eta="2100-01-01T00:00:00Z")
    answer = await post(resident, *IMAGES)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["eta"] == "2100-01-01T00:00:00Z"


async def _unloaded_meanwhile(resident: Resident, *images: bytes) -> httpx.Response:
    """Send images, and begin a hold that ends the worker while it computes the last of them that it gets."""
    await resident.segment()
    (worker,) = resident.script.launched
    resident.script.inferring.clear()
    asking = resident.begin(post(resident, *images))
    await resident.until(lambda: len(worker.images) == 2)
    await resident.unload(drain_timeout_seconds=0)
    return await asking


async def test_an_unload_before_any_answer_refuses_the_whole_request(resident: Resident) -> None:
    answer = await _unloaded_meanwhile(resident, *IMAGES)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert "aborted" in answer.json()["detail"]


async def test_a_503_counts_although_another_image_is_broken(resident: Resident) -> None:
    answer = await _unloaded_meanwhile(resident, b"%PDF", png())
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_answers_before_an_unload_are_kept(resident: Resident) -> None:
    await resident.segment()
    (worker,) = resident.script.launched
    resident.script.encoding.clear()
    asking = resident.begin(post(resident, *IMAGES))
    await resident.until(lambda: len(worker.images) == 2 and not resident.coordinator.in_flight.needing_worker)
    await resident.unload()
    resident.script.encoding.set()
    answer = await asking
    assert (answer.status_code, statuses(answer)) == (200, [200, 503, 503])
    assert "retry-after" not in answer.headers
    assert len(worker.images) == 2


@CPU
async def test_the_cpu_answers_the_images_of_a_held_gpu(resident: Resident) -> None:
    assert "sam3-degraded" not in (await post(resident, *IMAGES)).headers
    await resident.unload()
    await resident.until(lambda: bool(resident.cpu.launched))
    answer = await post(resident, *IMAGES)
    assert (answer.headers["sam3-degraded"], statuses(answer)) == ("cpu", [200, 200, 200])


async def test_one_image_at_a_time_reaches_the_worker(resident: Resident) -> None:
    resident.script.inferring.clear()
    asking = [resident.begin(post(resident, *IMAGES)) for _ in range(2)]
    await resident.until(lambda: bool(resident.script.launched) and len(resident.script.launched[0].images) == 2)
    assert resident.coordinator.in_flight.count == 2
    resident.script.inferring.set()
    assert [statuses(await each) for each in asking] == [[200, 200, 200]] * 2
    (worker,) = resident.script.launched
    order = [(image.width, image.height) for image in worker.images]
    assert sorted(order) == sorted(SIZES * 2)
    assert order[:2] == [SIZES[0]] * 2, "the second image of a request comes after the answer to its first"


async def test_a_client_that_disconnects_between_images_ends_its_request(resident: Resident) -> None:
    await resident.segment()
    (worker,) = resident.script.launched
    resident.script.inferring.clear()
    files = [("images", ("a.png", image)) for image in IMAGES]
    request = resident.client.build_request("POST", "/api/v1/segment", files=files, data={"prompt": "cat"})
    leaving = Client(resident, request.read(), request.headers["content-type"])
    await resident.until(lambda: len(worker.images) == 2)
    leaving.left.set()
    async with asyncio.timeout(5):
        await leaving.served
    assert (leaving.sent, resident.coordinator.in_flight.count) == ([], 0)
    resident.script.inferring.set()
    assert (await resident.segment()).status_code == 200
    assert len(worker.images) == 3


def body_of(*images: bytes) -> Body:
    body = Body("application/json", lambda: None)
    memory_files.write(body.descriptor, json.dumps({"images": texts(*images), "prompts": ["cat"]}).encode())
    return body


async def test_no_pixels_are_kept_after_an_image_was_segmented(resident: Resident) -> None:
    service: segmentation.SegmentationService = resident.app.state.segmentation
    resident.script.inferring.clear()
    asking = asyncio.create_task(service.segment_all("segment", body_of(*IMAGES), "10.0.0.1"))
    await resident.until(lambda: bool(resident.script.launched) and bool(resident.script.launched[0].images))
    resident.script.inferring.set()
    resident.script.launched[0].die()  # so the first image has an error
    outcomes = await asking
    assert isinstance(outcomes, list)
    images = [weakref.ref(image) for worker in resident.script.launched for image in worker.images]
    for worker in resident.script.launched:
        worker.images.clear()
    gc.collect()
    assert [isinstance(each, segmentation.Segmentation) for each in outcomes] == [False, True, True]
    assert [image() for image in images] == [None] * 3


async def test_the_body_is_freed_once_its_last_image_is_decoded(resident: Resident) -> None:
    service: segmentation.SegmentationService = resident.app.state.segmentation
    freed: list[int] = []
    body = body_of(*IMAGES)
    body._release = lambda: freed.append(len(resident.script.launched[0].images))
    await service.segment_all("segment", body, "10.0.0.1")
    assert freed == [2], "before the worker gets the third"


def test_a_file_for_a_body_that_is_closed_is_closed() -> None:
    body = body_of(png())
    body.close()
    descriptor = memory_files.create("sam3-body")
    body.exchange(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
