"""The function for CVAT, with CVAT's own package: labels become prompts, instances become polygons of those labels."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import pytest
from PIL import Image

from devcluster.paths import REPOSITORY
from residency.api.auth import TokenFile
from tests.unit.sam3.conftest import Resident

PHOTO = Image.new("RGBA", (8, 6), "red")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sam3_cvat", REPOSITORY / "docs/examples/sam3_cvat.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(threshold: float | None = None) -> Any:
    return SimpleNamespace(frame_name="a.jpg", conf_threshold=threshold, conv_mask_to_poly=False)


async def test_labels_are_looked_for_and_found_as_polygons(resident: Resident, port: int, module: ModuleType) -> None:
    function = module.create(f"http://127.0.0.1:{port}/", "person, red car")
    assert isinstance(function.spec, cvataa.DetectionFunctionSpec)
    assert [(label.name, label.id, label.type) for label in function.spec.labels] == [
        ("person", 0, "polygon"), ("red car", 1, "polygon"),
    ]  # fmt: skip
    shapes = await asyncio.to_thread(function.detect, context(0.6), PHOTO)
    assert [(shape.label_id, shape.type.value, list(shape.points)) for shape in shapes] == [
        (0, "polygon", [0, 0, 7, 0, 7, 5]), (1, "polygon", [0, 0, 7, 0, 7, 5]),
    ]  # fmt: skip
    prompts = resident.script.launched[-1].queries[-1].prompts
    assert [(prompt.text, prompt.threshold) for prompt in prompts] == [("person", 0.6), ("red car", 0.6)]


async def test_it_waits_while_a_training_has_the_gpu(
    resident: Resident, port: int, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = module.create(f"http://127.0.0.1:{port}", "person")
    waits: list[int] = []
    loop = asyncio.get_running_loop()

    def sleep(seconds: int) -> None:
        waits.append(seconds)
        asyncio.run_coroutine_threadsafe(resident.load(), loop).result(10)

    monkeypatch.setattr(module.time, "sleep", sleep)
    await resident.unload()
    assert len(await asyncio.to_thread(function.detect, context(), PHOTO)) == 1
    assert waits
    assert waits[0] > 0


async def test_a_refusal_is_an_error_with_its_reason(
    resident: Resident, port: int, module: ModuleType, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    await asyncio.to_thread(token.write_text, "let-me-in")
    resident.app.state.inference_access = TokenFile(token)
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(RuntimeError, match="SAM3 answers 401: the token is not the one"):
        await asyncio.to_thread(module.create(url, "person", "forged").detect, context(), PHOTO)
    assert await asyncio.to_thread(module.create(url, "person", "let-me-in").detect, context(), PHOTO)
