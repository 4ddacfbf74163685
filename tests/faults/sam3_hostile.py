"""Hostile requests: broken images, invalid bodies, and broken HTTP. The same for a seed."""

import base64
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from tests.fuzz.image_mutants import flipped, noise, repeated, truncated, with_other_header

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
MODES = {"JPEG": ("L", "RGB", "CMYK"), "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "GIF": ("P", "L")}


def whole(kind: str, chance: random.Random) -> bytes:
    """An image that is well made, of some mode and size."""
    mode = chance.choice(MODES.get(kind, ("L", "RGB")))
    size = (chance.randint(1, 80), chance.randint(1, 80))
    image = Image.new(mode, size) if mode == "I;16" else Image.effect_noise(size, 60).convert(mode)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = chance.randint(0, 12)
    options: dict[str, Any] = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (truncated, flipped, with_other_header, repeated, noise)


def png_that_claims(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of any claimed size over hardly any data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    head = struct.pack("!IIBBBBB", width, height, depth, colour, 0, 0, 0)
    text = b"Comment\0\0" + zlib.compress(bytes(1 << 22))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"zTXt", text)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


BOMBS = (
    b"",
    b"\0",
    b"GIF89a",
    b"\xff\xd8\xff",
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n(%pipe%id) (w) file\n",
    b"BM" + struct.pack("<IHHIIiiHHIIiiII", 66, 0, 0, 54, 40, -5, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
    *(png_that_claims(*size) for size in ((0, 0), (1, 0), (2**31 - 1, 2**31 - 1), (65500, 65500), (999, 999))),
    png_that_claims(900, 900, depth=16),
    png_that_claims(10, 10, depth=3, colour=9),
)

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    "\0",
    "￿",
    "🦜" * 400,
    "x" * 600,
    [],
    {},
    [[]],
    [None],
    {"$ref": "#"},
    float("nan"),
    float("-inf"),
    "../../etc/passwd",
    "'; drop table",
    ["a"] * 2000,
)
FIELDS = (
    "prompts", "objects", "image_id", "threshold", "format", "yolo_labels", "max_instances", "nms_iou", "image",
    "extra", "class_id", "images",
)  # fmt: skip


def images(chance: random.Random) -> Iterator[bytes]:
    while True:
        yield chance.choice(BOMBS)
        for kind in FORMATS:
            yield chance.choice(DAMAGES)(whole(kind, chance), chance)


def requests(seed: int) -> Iterator[dict[str, Any]]:
    """Keyword arguments of httpx's `request`, without end."""
    chance = random.Random(seed)
    image_stream = images(chance)
    for too_large in (bytes(2 << 20), png_that_claims(1001, 1000), bytes(1 << 22)):
        yield _post("/api/v1/segment", files={"image": ("a", too_large)}, data={"prompt": "cat"})
    while True:
        image = next(image_stream)
        yield _post("/api/v1/segment", files={"image": ("a", image)}, data={"prompt": "cat"})
        yield _post("/api/v1/segment", json={"image": base64.b64encode(image).decode(), "prompts": ["cat"]})
        yield _post("/api/v1/segment", content=_odd_json(chance), headers={"content-type": "application/json"})
        yield _post("/sam3/concept_segment", content=_odd_concept(chance), headers={"content-type": "application/json"})
        for path in ("/sam3/visual_segment", "/sam3/embed_image"):
            yield _post(path, content=_odd_visual(chance), headers={"content-type": "application/json"})
        yield _post("/v1/predict", content=_odd_predict(chance), headers={"content-type": "application/json"})
        fields = {chance.choice(FIELDS): str(chance.choice(ODD)) for _ in range(3)}
        yield _post("/api/v1/segment", files={"image": ("\0.png", whole("PNG", chance))}, data={"prompt": "a"} | fields)
        yield _post(
            chance.choice(("/api/v1/segment", "/api/v1/unload", "/api/v1/hold/renew", "/api/v1/load")),
            content=chance.randbytes(chance.randint(0, 300)),
            headers={"content-type": chance.choice(("application/json", "multipart/form-data; boundary=x", "a/b"))},
        )
        method = chance.choice(("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"))
        yield {"method": method, "url": chance.choice(("/api/v1/segment", "/health", "/%00", "/../x", "/metrics"))}


def _post(url: str, **arguments: Any) -> dict[str, Any]:
    return {"method": "POST", "url": url, **arguments}


def _odd_json(chance: random.Random) -> bytes:
    body: dict[str, Any] = {"image": base64.b64encode(whole("PNG", chance)).decode(), "prompts": ["cat"]}
    for _ in range(chance.randint(1, 3)):
        body[chance.choice(FIELDS)] = chance.choice(ODD)
    prompt: dict[str, Any] = {
        "text": "cat",
        chance.choice(("text", "exemplars", "threshold", "class_id")): chance.choice(ODD),
    }
    box = [chance.choice((0, -5, 3, 1e9, 1e308, 0.1)) for _ in range(4)]
    body["prompts"] = chance.choice((body["prompts"], [prompt], [{"exemplars": [{"box": box}]}]))
    return _written(body, chance)


def _odd_concept(chance: random.Random) -> bytes:
    box = {key: chance.choice(ODD) for key in chance.choice((("x", "y", "width", "height"), ("x0", "y0", "x1", "y1")))}
    body = {
        "image": {"type": chance.choice(("base64", "url", "file", 7)), "value": chance.choice((*ODD, "QUJD"))},
        "prompts": [{"type": "visual", "boxes": [box], "box_labels": chance.choice(ODD)}],
        chance.choice(("format", "output_prob_thresh", "nms_iou_threshold", "prompts")): chance.choice(ODD),
    }
    return _written(body, chance)


def _odd_visual(chance: random.Random) -> bytes:
    point = {"x": chance.choice((3, *ODD)), "y": 3, "positive": chance.choice((True, *ODD))}
    box = {key: chance.choice((3, *ODD)) for key in ("x", "y", "width", "height")}
    prompts = chance.choice(([{"points": [point]}], {"prompts": [{"box": box}]}, *ODD))
    body = {
        "image": {"type": "base64", "value": base64.b64encode(whole("PNG", chance)).decode()},
        "prompts": prompts,
        chance.choice(("image", "image_id", "format", "multimask_output")): chance.choice(ODD),
    }
    return _written(body, chance)


def _odd_predict(chance: random.Random) -> bytes:
    marks = [{"type": "rectangle", "label": chance.choice(ODD), "data": [chance.choice(ODD) for _ in range(4)]}]
    odd = chance.choice(("marks", "conf_threshold", "epsilon_factor", "text_prompt"))
    body = {
        "model": chance.choice(("segment_anything_3", "a")),
        "image": base64.b64encode(whole("PNG", chance)).decode(),
        "params": chance.choice(
            ({"marks": marks}, {"text_prompt": "a, b"}, {"text_prompt": "a"} | {odd: chance.choice(ODD)})
        ),
    }
    return _written(body, chance)


def _written(body: dict[str, Any], chance: random.Random) -> bytes:
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode()
    return text if chance.random() < 0.8 else truncated(text, chance)


RAW = (
    b"",
    b"\0" * 100,
    b"GET /health HTTP/9.9\r\n\r\n",
    b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /api/v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc",
    b"POST /api/v1/segment HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    b"POST /api/v1/segment HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\n--x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
)


def speak(port: int, words: bytes) -> int | None:
    """Say this to the server and hang up; return the status of its answer, if it gave one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except OSError:
            return None
    return int(answer.split()[1]) if answer.startswith(b"HTTP/") else None
