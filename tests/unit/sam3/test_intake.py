"""Intake processes, real ones: what they answer, what ends them, and what is left for others then."""

import asyncio
import base64
import io
import json
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from PIL import Image

from residency.errors import BodyError, ServiceError
from sam3_server import memory_files
from sam3_server.intake import body_parser
from sam3_server.intake import pool as pool_module
from sam3_server.intake.body import Body
from sam3_server.intake.body_parser import Asked
from sam3_server.intake.interface import ParsedRequest
from sam3_server.intake.pool import IntakePool
from sam3_server.intake.protocol import RequestLimits, Setup
from sam3_server.intake.roboflow import Echo, RoboflowTerms
from sam3_server.worker.protocol import Findings
from tests.unit.sam3.conftest import png

PIXELS = 4_000_000
LIMITS = RequestLimits(image_mib=32, pixels=PIXELS, prompts=32, instances=50, mask_pixels=32 * PIXELS)
JSON = "application/json"
CLIENT, OTHER = "10.0.0.1", "10.0.0.2"
MIB = 1 << 20


@pytest.fixture
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[IntakePool]:
    memory_mib = getattr(request, "param", 1500)
    async with IntakePool(Setup(limits=LIMITS, cpu_seconds=1, memory_mib=memory_mib, log_level="error")) as pool:
        yield pool


def body(content: bytes, content_type: str = JSON) -> Body:
    made = Body(content_type, lambda: None)
    memory_files.write(made.descriptor, content)
    return made


async def read(pool: IntakePool, content: bytes, client: str) -> ParsedRequest:
    """Read a request with one image."""
    request = await pool.read("segment", body(content), client)
    assert isinstance(request, ParsedRequest)
    return request


def asking(image: bytes, **more: Any) -> bytes:
    text = base64.b64encode(image).decode()
    return json.dumps({"image": text, "prompts": ["cat"]} | more).encode()


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes = b"") -> bytes:
        return struct.pack("!I", len(content)) + kind + content + struct.pack("!I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + bytes(width * 3)) * height, 1))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(map(chunk, chunks)) + rows + chunk(b"IEND")


COSTLY = png_of(8, 6, *([b"aaAa"] * 1_400_000))  # 17 MB of chunks without content


async def test_the_query_and_the_pixels_arrive(pool: IntakePool) -> None:
    image = Image.effect_noise((300, 1000), 90).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    prompts = ["cat", {"exemplars": [{"box": [-5, 0, 10, 2000]}]}]
    asked = await read(pool, asking(buffer.getvalue(), prompts=prompts), CLIENT)
    assert (asked.image.width, asked.image.height, asked.terms) == (300, 1000, None)
    assert b"".join(asked.image.strips) == image.tobytes()
    assert [prompt.text for prompt in asked.query.prompts] == ["cat", None]
    assert asked.query.prompts[1].exemplars[0].box == (0, 0, 10, 1000)


async def test_errors_are_reported_as_in_the_same_process(pool: IntakePool) -> None:
    with pytest.raises(BodyError) as refused:
        await read(pool, asking(png(), prompts=[""]), CLIENT)
    assert refused.value.status == 422
    assert [each.where for each in refused.value.field_errors] == ["body.prompts.0.text"]
    for content, status in ((b"", 422), (asking(b"%PDF"), 422), (asking(png(2001, 2000)), 413)):
        with pytest.raises(BodyError) as refused:
            await read(pool, content, CLIENT)
        assert refused.value.status == status


async def test_answers_in_roboflows_terms_are_written_there(pool: IntakePool) -> None:
    findings = Findings(width=8, height=6, model_seconds=0.5, results=[]).model_dump_json().encode()
    answer = json.loads(await pool.respond(RoboflowTerms(echoes=[]), findings, CLIENT))
    assert answer == {"prompt_results": [], "time": 0.5}
    echoes = [Echo(prompt_index=0, type="text", text="cat", num_boxes=0)]
    with pytest.raises(BodyError):
        await pool.respond(RoboflowTerms(echoes=echoes), findings, CLIENT)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_refused_image_frees_its_place(pool: IntakePool) -> None:
    with pytest.raises(BodyError, match="more than 1 s") as refused:
        await read(pool, asking(COSTLY), CLIENT)
    assert refused.value.status == 422
    asked = await asyncio.gather(*(read(pool, asking(png()), client) for client in (CLIENT, CLIENT, OTHER)))
    assert [each.image.width for each in asked] == [8, 8, 8]


async def test_costly_images_of_one_client_leave_a_process_to_others(pool: IntakePool) -> None:
    costly = [asyncio.create_task(read(pool, asking(COSTLY), CLIENT)) for _ in range(4)]
    await asyncio.sleep(0)
    assert (await read(pool, asking(png()), OTHER)).image.width == 8
    assert not any(each.done() for each in costly[1:])
    for each in costly:
        each.cancel()


async def test_a_caller_cancelled_while_it_waits_uses_no_process(pool: IntakePool) -> None:
    first = asyncio.create_task(read(pool, asking(COSTLY), CLIENT))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(read(pool, asking(COSTLY), CLIENT)) for _ in range(20)]
    await asyncio.sleep(0)
    for each in (*waiting, first):
        each.cancel()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results)
    assert (await read(pool, asking(png()), CLIENT)).image.width == 8


@pytest.mark.parametrize("pool", [100], indirect=True)
async def test_an_image_that_takes_too_much_memory_is_refused(pool: IntakePool) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (2000, 2000)).save(buffer, "PNG")
    huge = buffer.getvalue() + bytes(31 * MIB)
    with pytest.raises(BodyError) as refused:
        await read(pool, asking(huge), CLIENT)
    assert refused.value.status in (413, 422)
    assert (await read(pool, asking(png()), CLIENT)).image.width == 8


async def test_a_process_that_is_killed_is_replaced(pool: IntakePool) -> None:
    started = await pool._idle[-1]
    started._process.kill()
    with pytest.raises(ServiceError, match="was killed"):
        await read(pool, asking(png()), CLIENT)
    assert (await read(pool, asking(png()), CLIENT)).image.width == 8


async def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PROCESSES", 2)
    async with IntakePool(Setup(limits=LIMITS, cpu_seconds=1, memory_mib=1500, log_level="error")) as pool:
        processes = [await started for started in pool._idle]
        busy = asyncio.create_task(read(pool, asking(COSTLY), CLIENT))
        await asyncio.sleep(0.1)
    with pytest.raises((asyncio.CancelledError, ServiceError)):
        await busy
    async with asyncio.timeout(20):
        for process in processes:
            await process.gone()


ITEM = '{"a":[]},'
INVALID: dict[str, Callable[[int], str]] = {
    "prompts": lambda size: '{"image":"","prompts":[' + "1," * (size // 2) + "1]}",
    "objects": lambda size: '{"image":"","prompts":[' + ITEM * (size // len(ITEM)) + "{}]}",
    "keys": lambda size: '{"image":"","prompts":["a"],' + ",".join(f'"k{n}":0' for n in range(size // 12)) + "}",
    "long key": lambda size: '{"image":"","prompts":["a"],"' + "k" * (size - 50) + '":0}',
    "nested": lambda size: "[" * size,
    "exemplars": lambda size: '{"image":"","prompts":[{"exemplars":[' + "{}," * (size // 3) + "{}]}]}",
    "no image": lambda size: '{"image":"","prompts":["' + "x" * size + '"]}',
}


@pytest.mark.parametrize("size", [MIB - 100, 40 * MIB])
@pytest.mark.parametrize("kind", INVALID)
def test_invalid_json_of_any_size_gets_a_short_answer_soon(kind: str, size: int) -> None:
    content = INVALID[kind](size).encode()
    began = time.process_time()
    with pytest.raises(BodyError) as refused:
        body_parser.read(JSON, content)
    assert time.process_time() - began < 10
    assert refused.value.status in (413, 422)
    assert len(str(refused.value)) <= 1500
    assert sum(len(each.where) + len(each.message) for each in refused.value.field_errors) <= 4000
    assert len(refused.value.field_errors) <= 10


BOXES = '{"image":{"type":"base64","value":""},"prompts":[{"boxes":[%s{}]}]}' % ("{}," * 300_000)


def test_invalid_boxes_are_refused_by_the_first() -> None:
    from sam3_server.intake.roboflow import ConceptRequest

    with pytest.raises(BodyError) as refused:
        body_parser.read_json(BOXES.encode(), ConceptRequest)
    assert len(refused.value.field_errors) <= 10
    assert len(str(refused.value)) <= 1500


NOISE = bytes(range(256)) * 8192  # 2 MiB: as text it does not fit beside the image


@pytest.mark.parametrize(
    "written",
    [
        lambda text: f'{{"image": "{text}", "prompts": ["cat"]}}',
        lambda text: f'{{"prompts": ["a \\"quoted\\" cat"], "image": "{text}"}}',
        lambda text: f'{{"prompts": ["back\\\\"], "image": "{text}"}}',
        lambda text: '{"image": "data:image/png;base64,' + text.replace("/", "\\/") + '", "prompts": ["cat"]}',
    ],
    ids=["first", "last, after quotes", "after a backslash", "slashes escaped"],
)
def test_an_image_too_long_to_be_parsed_is_found_wherever_it_stands(written: Callable[[str], str]) -> None:
    content = written(base64.b64encode(NOISE).decode()).encode()
    asked = body_parser.read(JSON, content)
    assert isinstance(asked, Asked)
    assert asked.image == NOISE
    assert asked.options is not None
    assert len(asked.options.prompts) == 1


@pytest.mark.parametrize(
    ("written", "status"),
    [
        (lambda text: f'{{"image": "{text}", "prompts": ["{text}"]}}', 413),
        (lambda text: f'{{"image": "QUJD", "prompts": ["cat"], "{text}": 1}}', 422),
        (lambda text: f'{{"image": "QUJD", "prompts": [{{"text": "{text}"}}]}}', 413),
        (lambda text: f'{{"image": "{text}", "prompts": ["cat"]', 422),
        (lambda text: f'{{"image": "{text}', 422),
    ],
    ids=["two", "a key", "a prompt", "no end", "no end of the image"],
)
def test_only_the_image_may_be_long(written: Callable[[str], str], status: int) -> None:
    with pytest.raises(BodyError) as refused:
        body_parser.read(JSON, written(base64.b64encode(NOISE).decode()).encode())
    assert refused.value.status == status
    assert len(str(refused.value)) < 2000


def form(image: bytes, **fields: str) -> tuple[str, bytes]:
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = '--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return "multipart/form-data; boundary=x", "".join(parts).encode() + head.encode() + image + b"\r\n--x--\r\n"


def test_a_large_file_of_a_form_is_taken_and_large_fields_are_not() -> None:
    asked = body_parser.read(*form(NOISE * 4, prompt="cat"))
    assert isinstance(asked, Asked)
    assert asked.image == NOISE * 4
    many = {f"field{number}": "x" * (MIB // 2) for number in range(4)}
    for fields, status in ((many, 413), ({"prompt": "x" * (2 * MIB)}, 400)):
        with pytest.raises(BodyError) as refused:
            body_parser.read(*form(b"", **fields))
        assert refused.value.status == status
