"""The interactor for CVAT, with CVAT's own package and a server process: clicks become the server's masks."""

import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
from cvat_sdk.masks import decode_mask
from PIL import Image
from pycocotools import mask as coco

import gpu_memory
from devcluster.paths import REPOSITORY
from devcluster.programs.sam3 import PNG, TOKEN, Server, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")
HEIGHT, WIDTH = 60, 90
BESIDE = (72.0, 6.0)


@dataclass(frozen=True)
class Prompts:
    """What a user has clicked, as CVAT's agent passes it."""

    pos_points: Sequence[tuple[float, float]] = ((18.0, 30.0),)
    neg_points: Sequence[tuple[float, float]] = ()
    bounding_box: tuple[tuple[float, float], tuple[float, float]] | None = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    ledger = gpu_memory.create_ledger(tmp_path_factory.mktemp("gpu"))
    server = Server(ledger, tiny_model(), token, {"SAM3_INFERENCE_TOKEN_FILE": str(token)})
    yield server
    server.end()


@pytest.fixture(scope="module")
def function(server: Server) -> Any:
    path: Path = REPOSITORY / "docs" / "examples" / "sam3_cvat_clicks.py"
    spec = importlib.util.spec_from_file_location("sam3_cvat_clicks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.create(f"{server.url}/", TOKEN)


@pytest.fixture(scope="module")
def image(function: Any) -> str:
    assert isinstance(function.spec, cvataa.InteractionFunctionSpec)
    encoded: str = function.preprocess_image(None, Image.open(io.BytesIO(PNG)).convert("RGBA"))
    return encoded


def test_clicks_become_the_mask_of_one_object(server: Server, function: Any, image: str) -> None:
    inside, beside = {"x": 18, "y": 30}, {"x": BESIDE[0], "y": BESIDE[1], "positive": False}
    clicks: list[tuple[Prompts, dict[str, Any]]] = [
        (Prompts(), {"points": [inside]}),
        (Prompts(neg_points=[BESIDE]), {"points": [inside, beside]}),
        (Prompts(bounding_box=((9, 12), (54, 48))), {"points": [inside], "box": [9, 12, 54, 48]}),
    ]
    masks = []
    for prompts, expected in clicks:
        (shape,) = function.detect(None, image, prompts)
        masks.append(decode_mask(shape.points, image_width=WIDTH, image_height=HEIGHT))
        answer = server.client.post("/api/v1/segment", json={"image": image, "objects": [expected]}).json()
        assert np.array_equal(masks[-1], coco.decode(answer["results"][0]["detections"][0]["mask"]))
        assert shape.type == "mask"
    assert len({mask.tobytes() for mask in masks}) == len(clicks), "each click makes a difference"


def test_a_click_is_an_error_while_a_job_has_the_gpu(server: Server, function: Any, image: str) -> None:
    server.unload(fence=1, ttl_seconds=600)
    with pytest.raises(cvataa.BadFunctionError, match="SAM3 answers 503: the GPU is lent to job/a"):
        function.detect(None, image, Prompts())
    server.load(fence=1)
    assert function.detect(None, image, Prompts())
