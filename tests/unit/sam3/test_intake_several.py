"""Several images of one request: how they are found in a body, and read one by one by real intake processes."""

import asyncio
import base64
import gc
import json
import os
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from residency.errors import BodyError
from sam3_server import memory_files
from sam3_server.intake import body_parser
from sam3_server.intake.body import Body
from sam3_server.intake.body_parser import AskedImages
from sam3_server.intake.pool import IntakePool
from sam3_server.intake.protocol import ImageBatch, Setup
from tests.unit.sam3.conftest import png
from tests.unit.sam3.test_intake import CLIENT, INVALID, JSON, LIMITS, MIB

LARGE = bytes(range(256)) * 3072  # 768 KiB, a megabyte in base64
SMALL = bytes(range(64))
FORM = "multipart/form-data; boundary=x"


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


def as_json(*images: bytes, **more: Any) -> bytes:
    return json.dumps({"prompts": ["cat"], "images": list(map(text, images))} | more).encode()


def as_form(*images: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    prompt = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncat\r\n'
    return prompt + b"".join(head + image + b"\r\n" for image in images) + b"--x--\r\n"


def found(content: bytes, content_type: str = JSON) -> list[bytes]:
    """Return the images that are found in a body."""
    asked = body_parser.read(content_type, content)
    assert isinstance(asked, AskedImages)
    assert [prompt.text for prompt in asked.options.prompts] == ["cat"]
    return [body_parser.decoded(each.decode()) for each in asked.images] if asked.texts else asked.images


@pytest.mark.parametrize(
    "images",
    [[SMALL], [SMALL] * 16, [LARGE], [LARGE, SMALL, LARGE + SMALL, LARGE], [LARGE] * 16],
    ids=["small", "16 small", "large", "of different sizes", "16 large"],
)
def test_images_of_any_size_are_found_in_order(images: list[bytes]) -> None:
    assert found(as_json(*images)) == images
    assert found(as_form(*images), FORM) == images


def test_escaped_slashes_and_other_fields_do_not_matter() -> None:
    images = [LARGE, bytes([255] * len(LARGE))]
    written = as_json(*images, threshold=0.5, image=None).replace(b"/", b"\\/")
    assert found(written) == images


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (as_json(*[LARGE] * 18), 413, "more than 1 MiB beside 16 images; send fewer images"),
        (as_json(*[SMALL] * 17), 422, "at most 16 items"),
        (as_json(LARGE, prompts=["x" * 5000, "y" * MIB]), 413, "more than 1 MiB beside the image"),
        (as_json(LARGE, prompts=["x" * 1000] * 1500), 413, "fewer or shorter prompts"),
        (as_json(LARGE, SMALL, image=text(LARGE)), 422, "send either images"),
        (as_json(LARGE, SMALL)[:-2], 422, "Invalid JSON"),
        (b'{"images":' * 300_000, 413, "fewer or shorter prompts"),
    ],
    ids=["18 large", "17 small", "a long prompt", "many prompts", "one besides", "no end", "nested"],
)
def test_other_long_bodies_are_refused(content: bytes, status: int, says: str) -> None:
    with pytest.raises(BodyError, match=says) as refused:
        body_parser.read(JSON, content)
    assert refused.value.status == status
    assert len(str(refused.value)) < 2000


def test_a_large_form_without_large_images_is_refused() -> None:
    for content, status in ((as_form(*[SMALL] * 17), 422), (as_form(LARGE) + bytes(2 * MIB), 413)):
        with pytest.raises(BodyError) as refused:
            body_parser.read(FORM, content)
        assert refused.value.status == status


@pytest.mark.parametrize("name", [b"images", b"image"])
def test_the_files_of_a_form_are_closed(name: bytes) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        body_parser.read(FORM, as_form(LARGE).replace(b'name="images"', b'name="' + name + b'"'))
        gc.collect()
    assert not warned


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_json_with_images_costs_as_little(kind: str) -> None:
    content = INVALID[kind](40 * MIB).replace('"image":""', '"images":[""]').encode()
    began = time.process_time()
    with pytest.raises(BodyError) as refused:
        body_parser.read(JSON, content)
    assert time.process_time() - began < 10
    assert refused.value.status in (413, 422)
    assert len(str(refused.value)) <= 1500


@pytest.fixture
async def pool() -> AsyncIterator[IntakePool]:
    async with IntakePool(Setup(limits=LIMITS, cpu_seconds=1, memory_mib=1500, log_level="error")) as pool:
        yield pool


def body(content: bytes, content_type: str = JSON) -> Body:
    made = Body(content_type, lambda: None)
    memory_files.write(made.descriptor, content)
    return made


@pytest.mark.parametrize(("write", "content_type"), [(as_json, JSON), (as_form, FORM)])
async def test_a_process_reads_one_image_after_another(pool: IntakePool, write: Any, content_type: str) -> None:
    content = write(png(8, 6), b"%PDF", png(9, 5))
    with body(content, content_type) as sent:
        batch = await pool.read("segment", sent, CLIENT)
        assert isinstance(batch, ImageBatch)
        assert batch.count == 3
        read = [await pool.read_image(sent, batch, place, CLIENT) for place in (0, 2)]
        assert [(each.image.width, each.image.height) for each in read] == [(8, 6), (9, 5)]
        assert [len(b"".join(each.image.strips)) for each in read] == [8 * 6 * 3, 9 * 5 * 3]
        assert [each.query.prompts[0].text for each in read] == ["cat", "cat"]
        with pytest.raises(BodyError, match="unknown format"):
            await pool.read_image(sent, batch, 1, CLIENT)


@pytest.mark.parametrize("content", [as_json(LARGE, LARGE), as_json(LARGE, LARGE).replace(b"A", b"\xff")])
async def test_the_file_with_the_images_is_as_large_as_the_body(pool: IntakePool, content: bytes) -> None:
    with body(content) as sent:
        assert isinstance(await pool.read("segment", sent, CLIENT), ImageBatch)
        assert os.fstat(sent.descriptor).st_size < len(content) + 1000  # the query, with what the body leaves out


async def test_errors_of_the_whole_request_come_before_any_image(pool: IntakePool) -> None:
    for content, status in ((as_json(), 422), (as_json(SMALL, prompts=[""]), 422), (as_json(SMALL, image="QUJD"), 422)):
        with pytest.raises(BodyError) as refused:
            await pool.read("segment", body(content), CLIENT)
        assert refused.value.status == status


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_body_closed_while_it_is_read_leaves_no_file(pool: IntakePool) -> None:
    await pool.read("segment", body(as_json(SMALL)), CLIENT)
    before = open_files()
    with body(as_json(*[LARGE] * 8)) as sent:
        reading = asyncio.create_task(pool.read("segment", sent, CLIENT))
        while not pool._asking:
            await asyncio.sleep(0)
        reading.cancel()
    await asyncio.gather(*pool._asking)
    assert open_files() == before
