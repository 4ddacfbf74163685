"""Clicks through the server process: Roboflow's own client, images named by their id, unloads, a detector alone."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco
from transformers import Sam3Model

import gpu_memory
from devcluster.programs.sam3 import LOAD_SECONDS, PNG, TEXT, TOKEN, Server, tiny_model
from devcluster.waiting import eventually
from tests.faults.python_environments import python_environment, without_pythonpath

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")
CALLS = Path(__file__).with_name("sam3_sdk_calls.py")
POINTS = [{"x": 20, "y": 30}, {"x": 70, "y": 10, "positive": False}]
IMAGE = {"type": "base64", "value": TEXT}
HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> Iterator[Server]:
    server = Server(gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu")), tiny_model(), token_file)
    yield server
    server.end()


def segment(server: Server, **body: Any) -> httpx.Response:
    return server.client.post("/api/v1/segment", json={"objects": [{"points": POINTS, "multimask": True}]} | body)


def mask_of(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return coco.decode(answer.json()["results"][-1]["detections"][0]["mask"])


def test_roboflows_client_works_unchanged(server: Server, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(PNG)
    python = python_environment("inference-sdk") / "bin" / "python"
    seen = server.metric("sam3_known_images_total")
    ended = subprocess.run(
        [python, CALLS, server.url, image], env=without_pythonpath(), stdout=subprocess.PIPE, text=True, check=True
    )
    answers = json.loads(ended.stdout.splitlines()[-1])
    assert server.metric("sam3_known_images_total") - seen == 4, "all calls but the first have the features"
    assert answers["embedded"]["image_id"] == "frame-7"
    outlined = answers["outlined"]["predictions"]
    assert [each["format"] for each in outlined] == ["polygon", "polygon"]
    (encoded,) = answers["run_lengths"]["predictions"]
    ours = mask_of(segment(server, image=TEXT))
    assert np.array_equal(coco.decode(encoded["masks"]), ours)
    flat = [[number for point in polygon for number in point] for polygon in outlined[0]["masks"]]
    assert np.array_equal(coco.decode(coco.merge(coco.frPyObjects(flat, HEIGHT, WIDTH))), ours)
    assert [len(each["predictions"]) for each in answers["several"]] == [1, 1]
    assert outlined[0]["confidence"] == encoded["confidence"] > 0


def test_an_image_is_named_by_the_id_of_an_earlier_answer(server: Server) -> None:
    embedded = server.client.post("/sam3/embed_image", json={"image": IMAGE}).json()
    by_id = segment(server, image_id=embedded["image_id"])
    assert np.array_equal(mask_of(by_id), mask_of(segment(server, image=TEXT)))
    assert (by_id.json()["width"], by_id.json()["height"]) == (WIDTH, HEIGHT)
    body = {"image_id": embedded["image_id"], "prompts": [{"points": POINTS}], "format": "rle"}
    visual = server.client.post("/sam3/visual_segment", json=body).json()
    assert np.array_equal(coco.decode(visual["predictions"][0]["masks"]), mask_of(by_id))
    mask = by_id.json()["results"][0]["detections"][0]["mask"]
    refined = [{"points": POINTS, "mask": mask}]
    assert mask_of(segment(server, image_id=embedded["image_id"], objects=refined)).shape == (HEIGHT, WIDTH)
    far = segment(server, image_id=embedded["image_id"], objects=[{"points": [{"x": 91, "y": 1}]}])
    assert far.status_code == 422
    assert "which has 90 x 60 pixels" in far.json()["detail"]


def test_every_form_has_objects_beside_concepts(server: Server) -> None:
    body = {"image": TEXT, "prompts": [{"text": "cat", "threshold": 0, "class_id": 3}]}
    ours = mask_of(segment(server, **body))
    shaped = segment(server, **body, format="polygon", yolo_labels="polygon").json()
    assert [(each["prompt"], each["class_id"]) for each in shaped["results"]] == [("cat", 3), ("object", 1)]
    (detection,) = shaped["results"][1]["detections"]
    assert np.array_equal(coco.decode(coco.merge(coco.frPyObjects(detection["polygons"], HEIGHT, WIDTH))), ours)
    assert shaped["yolo_labels"].splitlines()[-1].startswith("1 ")
    boxes = segment(server, **body, format="box", nms_iou=1).json()
    assert boxes["results"][1]["detections"] == [{name: detection[name] for name in ("box", "score")}]


def test_features_and_tracker_are_gone_after_an_unload(server: Server) -> None:
    answer = segment(server, image=TEXT).json()
    image_id = answer["image_id"]
    server.unload(fence=1)
    assert server.ledger.used_mib == 0
    assert segment(server, image_id=image_id).status_code == 503
    eventually(server.standby_ready, "a standby", within=LOAD_SECONDS)
    server.load(fence=1)
    unknown = segment(server, image_id=image_id)
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert "send the image again" in unknown.json()["detail"]
    assert segment(server, image=TEXT).json()["results"] == answer["results"]


def test_a_detector_alone_says_what_objects_need(tmp_path: Path, token_file: Path) -> None:
    folder = tmp_path / "detector"
    Sam3Model.from_pretrained(tiny_model()).save_pretrained(folder)
    for file in tiny_model().iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).write_bytes(file.read_bytes())
    server = Server(gpu_memory.create_ledger(tmp_path / "gpu"), folder, token_file, {"SAM3_STANDBY": "false"})
    try:
        assert server.segment().status_code == 200
        body = {"image": IMAGE, "prompts": [{"points": POINTS}]}
        for path in ("/sam3/visual_segment", "/sam3/embed_image"):
            refused = server.client.post(path, json=body)
            assert (refused.status_code, refused.headers["content-type"]) == (501, "application/problem+json")
            assert "all files of facebook/sam3" in refused.json()["detail"]
        assert segment(server, image=base64.b64encode(PNG).decode()).status_code == 501
    finally:
        server.end()
