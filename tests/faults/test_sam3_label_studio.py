"""The backend for Label Studio: the server of its own package `label-studio-ml`, asked as Label Studio 1.23.2 asks it.

PyPI has no usable `label-studio-ml`, so these tests run where `GPU_RELAY_LABEL_STUDIO_ML` is the path of its wheel:

    pip wheel --no-deps git+https://github.com/HumanSignal/label-studio-ml-backend.git@d02cedf
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco

import gpu_memory
from devcluster.paths import REPOSITORY
from devcluster.programs.sam3 import TOKEN, Server, png, tiny_model
from devcluster.waiting import eventually
from tests.faults.python_environments import free_port, python_environment, without_pythonpath

WHEEL = os.environ.get("GPU_RELAY_LABEL_STUDIO_ML", "")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools"),
    pytest.mark.skipif(not WHEEL, reason="GPU_RELAY_LABEL_STUDIO_ML names no wheel of label-studio-ml 2"),
]
HEIGHT, WIDTH = 60, 90
LABELS = '<Label value="cat"/><Label value="red dog"/>'
PERCENT = np.array([100 / WIDTH, 100 / HEIGHT])
IMAGES = [png(WIDTH, HEIGHT), png(WIDTH, HEIGHT)]
POINT = {"type": "keypointlabels", "is_positive": True, "value": {"x": 20, "y": 50, "width": 0.5}}
NOT_THERE = {"type": "keypointlabels", "is_positive": False, "value": {"x": 80, "y": 10, "width": 0.5}}
RECTANGLE = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 50, "height": 60, "rotation": 0}}


def config(kind: str) -> str:
    """Return a labelling configuration whose regions are `kind`, with the tools for clicks."""
    return (
        f'<View><Image name="image" value="$photo"/><{kind} name="out" toName="image">{LABELS}</{kind}>'
        f'<KeyPointLabels name="click" toName="image" smart="true">{LABELS}</KeyPointLabels>'
        f'<RectangleLabels name="around" toName="image" smart="true">{LABELS}</RectangleLabels></View>'
    )


class Backend:
    """The backend's process, and Label Studio's requests to it."""

    def __init__(self, folder: Path, sam3: Server, images: str) -> None:
        port = free_port()
        self._images = images
        self._log = folder / "log"
        environment = {
            **without_pythonpath(),
            "PYTHONPATH": os.pathsep.join((WHEEL, str(REPOSITORY / "docs" / "examples"))),
            "HOME": str(folder),
            "MODEL_DIR": str(folder),
            "SAM3_URL": f"{sam3.url}/",
            "SAM3_TOKEN": TOKEN,
            "SAM3_THRESHOLD": "0",
        }
        flask = str(python_environment("label-studio-ml") / "bin" / "flask")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [flask, "--app", "sam3_label_studio", "run", "--port", str(port)],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=100)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.client.get("/health").is_success
        except httpx.TransportError:
            return False

    def predict(self, kind: str, prompts: list[dict[str, Any]] | None = None, tasks: int = 1) -> httpx.Response:
        """Ask as Label Studio does: for tasks, or for clicks on the first one."""
        result = [
            {
                "id": f"r{number}",
                "to_name": "image",
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "image_rotation": 0,
                **prompt,
                "value": prompt["value"] | {prompt["type"]: ["red dog"]},
            }
            for number, prompt in enumerate(prompts or [])
        ]
        context = {"result": result} if prompts else None
        body = {
            "tasks": [{"id": n, "data": {"photo": f"{self._images}/{n}.png"}, "project": 7} for n in range(tasks)],
            "project": "7.1796083368",
            "label_config": config(kind),
            "params": {"login": None, "password": None, "context": context},
        }
        return self.client.post("/predict", json=body)

    def regions(self, kind: str, prompts: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        answer = self.predict(kind, prompts)
        assert answer.status_code == 200, answer.text
        (prediction,) = answer.json()["results"]
        assert prediction["model_version"] == "SAM3"
        regions: list[dict[str, Any]] = prediction["result"]
        return regions


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    ledger = gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))
    server = Server(ledger, tiny_model(), token, {"SAM3_INFERENCE_TOKEN_FILE": str(token)})
    yield server
    server.end()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(IMAGES):
        (folder / f"{number}.png").write_bytes(image)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, sam3: Server, images: str) -> Iterator[Backend]:
    backend = Backend(tmp_path_factory.mktemp("backend"), sam3, images)
    try:
        eventually(backend.answers, "the backend answers", within=60)
        yield backend
    finally:
        backend.process.terminate()
        backend.process.wait(10)


def found(sam3: Server, form: str, image: bytes = IMAGES[0], **query: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the label and the detection of each instance that the SAM3 server itself finds."""
    files = {"image": ("a.png", image)}
    body = httpx.Request("POST", sam3.url, json={"format": form, "threshold": 0, **query}).content
    answer = sam3.client.post("/api/v1/segment", files=files, data={"request": body})
    assert answer.status_code == 200, answer.text
    return [(result["prompt"], each) for result in answer.json()["results"] for each in result["detections"]]


def brush_mask(rle: list[int]) -> Any:
    """Decode the run lengths of a brush: a bit stream of the four channels of each pixel."""
    bits = iter("".join(f"{byte:08b}" for byte in rle))

    def number(size: int) -> int:
        return int("".join(islice(bits, size)), 2)

    total, word = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeats = number(1)
        length = 1 + number(sizes[number(2)])
        values += [number(word)] * length if repeats else [number(word) for _ in range(length)]
    channels = np.array(values).reshape(HEIGHT, WIDTH, 4)
    assert set(np.unique(channels)) <= {0, 255}
    assert (channels == channels[..., :1]).all()
    return channels[..., 3] // 255


def test_label_studio_connects(backend: Backend) -> None:
    assert backend.client.get("/health").json() == {"model_class": "Sam3", "status": "UP"}
    body = {"project": "7.1796083368", "schema": config("BrushLabels"), "hostname": "", "extra_params": None}
    assert backend.client.post("/setup", json=body).json() == {"model_version": "SAM3"}


def test_clicks_become_a_brush(backend: Backend, sam3: Server) -> None:
    clicks: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([POINT], {"points": [{"x": 18, "y": 30}]}),
        ([POINT, NOT_THERE], {"points": [{"x": 18, "y": 30}, {"x": 72, "y": 6, "positive": False}]}),
        ([RECTANGLE], {"box": [9, 12, 54, 48]}),
        ([RECTANGLE, NOT_THERE], {"box": [9, 12, 54, 48], "points": [{"x": 72, "y": 6, "positive": False}]}),
    ]
    masks = []
    for prompts, prompt in clicks:
        (region,) = backend.regions("BrushLabels", prompts)
        ((_, detection),) = found(sam3, "rle", objects=[prompt])
        masks.append(brush_mask(region["value"]["rle"]))
        assert np.array_equal(masks[-1], coco.decode(detection["mask"]))
        assert region["value"]["brushlabels"] == ["red dog"]
        names = {"from_name": "out", "to_name": "image", "type": "brushlabels", "image_rotation": 0}
        size = {"original_width": WIDTH, "original_height": HEIGHT}
        assert names | size | {"score": detection["score"], "readonly": False} == {
            name: value for name, value in region.items() if name not in ("id", "value")
        }
    assert len({mask.tobytes() for mask in masks}) > 1, "the clicks make a difference"


def test_a_click_becomes_polygons(backend: Backend, sam3: Server) -> None:
    regions = backend.regions("PolygonLabels", [POINT, NOT_THERE])
    points = [{"x": 18, "y": 30}, {"x": 72, "y": 6, "positive": False}]
    ((_, detection),) = found(sam3, "polygon", objects=[{"points": points}])
    exact = {(x, y) for part in detection["polygons"] for x, y in zip(part[::2], part[1::2], strict=True)}
    assert 0 < len(regions) <= len(detection["polygons"])
    assert len({region["id"] for region in regions}) == len(regions)
    for region in regions:
        assert (region["type"], region["value"]["polygonlabels"]) == ("polygonlabels", ["red dog"])
        corners = np.array(region["value"]["points"]) / PERCENT
        assert len(corners) > 2
        assert {(round(x, 3), round(y, 3)) for x, y in corners} <= exact


def test_labels_are_looked_for_on_every_task(backend: Backend, sam3: Server) -> None:
    answer = backend.predict("RectangleLabels", tasks=2)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["results"]
    assert len(predictions) == 2
    for image, prediction in zip(IMAGES, predictions, strict=True):
        expected = found(sam3, "box", image, prompts=["cat", "red dog"])
        regions = prediction["result"]
        assert [region["value"]["rectanglelabels"] for region in regions] == [[label] for label, _ in expected]
        boxes = [np.array(each["box"]).reshape(2, 2) * PERCENT for _, each in expected]
        drawn = [[region["value"][name] for name in ("x", "y", "width", "height")] for region in regions]
        assert np.allclose(drawn, [[*box[0], *(box[1] - box[0])] for box in boxes])
        assert prediction["score"] == pytest.approx(np.mean([each["score"] for _, each in expected]))


def test_what_cannot_be_answered_is_an_error_with_its_reason(backend: Backend) -> None:
    refused = backend.predict("BrushLabels", [NOT_THERE])
    assert refused.status_code == 500
    assert "SAM3 answers 422" in refused.json()["detail"]
    assert "at least one positive point" in refused.json()["detail"]
    choices = '<Image name="i" value="$photo"/><Choices name="c" toName="i"><Choice value="a"/></Choices>'
    body: dict[str, Any] = {"tasks": [{"id": 1, "data": {"photo": "a.png"}}], "project": "8.1", "params": {}}
    body["label_config"] = f"<View>{choices}</View>"
    unusable = backend.client.post("/predict", json=body)
    assert unusable.status_code == 500
    assert "none of BrushLabels, PolygonLabels, RectangleLabels" in unusable.json()["detail"]


def test_clicks_find_nothing_while_a_job_has_the_gpu(backend: Backend, sam3: Server) -> None:
    sam3.unload(fence=1, ttl_seconds=600)
    try:
        assert backend.regions("BrushLabels", [POINT]) == []
        assert "A click has no result: SAM3 answers 503" in backend.log
        batch = backend.predict("BrushLabels")
        assert batch.status_code == 500, "no prediction: Label Studio would store an empty one"
        assert "BusyError: SAM3 answers 503" in batch.json()["detail"]
    finally:
        sam3.load(fence=1)


def test_a_batch_waits_until_a_job_has_ended(backend: Backend, sam3: Server) -> None:
    sam3.unload(fence=2, ttl_seconds=8)
    refused = sam3.metric("sam3_refused_total")
    assert backend.regions("RectangleLabels")
    assert sam3.metric("sam3_refused_total") > refused
